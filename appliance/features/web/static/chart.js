// One chart of one topic. The server says where the line breaks; a value that comes live is added at its end.

import * as words from "./words.js";

const SPANS = { "15m": 900, "1h": 3600, "6h": 21_600, "1d": 86_400, "7d": 604_800 };
const REFRESH_MS = 60_000;
const POINTS = 500;
const BREAK = 3; // live values further apart than so many usual distances do not belong together

export class Chart {
  topic = null;
  #span = "6h";
  #chosen = false; // somebody asked for this stretch of time
  #columns = null;
  #plot = null;
  #elements;
  #house;
  #asked = 0;
  #timer = 0;

  constructor(elements, house) {
    this.#elements = elements;
    this.#house = house;
    for (const button of elements.ranges.querySelectorAll("button")) {
      button.addEventListener("click", () => {
        this.#chosen = true;
        this.range(button.dataset.span);
      });
    }
    new ResizeObserver(() => this.#fit()).observe(elements.plot);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
    elements.plot.addEventListener("keydown", (event) => this.#step(event));
    elements.plot.addEventListener("blur", () => this.#plot?.setCursor({ left: -10, top: -10 }));
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.load());
  }

  range(span) {
    this.#span = span;
    for (const button of this.#elements.ranges.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.span === span));
    }
    this.load();
  }

  show(topic) {
    if (topic !== this.topic) {
      this.topic = topic;
      this.#columns = null;
      this.#plot?.destroy();
      this.#plot = null;
      this.#facts("\u00a0");
    }
    this.title();
    this.load();
  }

  // Heading and present value, from what is known live.
  title() {
    const value = this.#house.values.get(this.topic);
    const { heading, room, now } = this.#elements;
    const series = this.#columns;
    const levels = (this.topic ?? "").split("/");
    const described = value ?? { name: series?.name ?? "", kind: series?.quantity ?? levels.at(-1) ?? "", label: null };
    set(heading, this.topic ? words.name(described) : "History");
    set(room, value ? words.place(value.room) : this.topic ?? "\u00a0");
    set(now, value ? words.reading(value).join("\u00a0").trim() : "");
  }

  async load() {
    clearTimeout(this.#timer);
    if (this.topic === null || document.visibilityState !== "visible") return;
    const asked = ++this.#asked;
    const query = new URLSearchParams({ topic: this.topic, since: this.#span, points: POINTS });
    let columns = null;
    let problem = "";
    try {
      const source = new URL(`/api/history?${query}`, location.origin); // the page's own may hold a password
      const answer = await fetch(source, { headers: { Accept: "application/json" } });
      const body = await answer.json();
      if (answer.ok) columns = body;
      else problem = answer.status === 404 ? "Nothing is recorded here yet." : body.error;
    } catch {
      problem = this.#columns ? "" : "The history cannot be reached.";
    }
    if (asked !== this.#asked) return; // somebody chose something else meanwhile
    this.#timer = setTimeout(() => this.load(), REFRESH_MS);
    if (columns && !this.#chosen && columns.at.length > 0) {
      const old = columns.until - columns.at[0];
      const fits = Object.keys(SPANS).find((span) => old <= SPANS[span]);
      if (SPANS[fits] < SPANS[this.#span]) {
        this.range(fits); // the first minutes of a new appliance, shown large
        return;
      }
    }
    if (columns) {
      this.#columns = columns;
      this.title();
      this.#draw();
      this.#summary();
    } else if (problem) {
      this.#plot?.destroy();
      this.#plot = null;
      this.#columns = null;
      this.#facts(problem);
    }
  }

  // A value came in live.
  add(value) {
    if (value.topic !== this.topic) return;
    this.title();
    const columns = this.#columns;
    const amount = Number(value.value);
    if (!columns || value.value === null || typeof value.value === "string" || value.at === null) return;
    for (const gap of columns.gaps) if (gap.until === null && gap.cause !== "clock unset") gap.until = value.at;
    const last = columns.at.at(-1);
    if (columns.kind === "binary" && columns.at.length > 0) this.#cutTail();
    else if (last !== undefined && value.at <= last) return;
    else if (last !== undefined && value.at - last > this.#silence()) this.#push((last + value.at) / 2, null);
    this.#push(value.at, amount);
    this.tick();
  }

  // Time goes on: the chart ends now.
  tick() {
    const columns = this.#columns;
    if (!columns || !this.#plot) return;
    columns.until = this.#house.now();
    columns.since = columns.until - SPANS[this.#span];
    if (columns.kind === "binary" && columns.at.length > 0) {
      const held = columns.mean.at(-1);
      this.#cutTail();
      this.#push(columns.until, held);
    }
    this.#plot.setData(this.#data());
    this.#summary();
  }

  // The last point of an ON/OFF series only says that the value still holds.
  #cutTail() {
    const { at, mean } = this.#columns;
    if (at.length > 1 && mean.at(-1) === mean.at(-2)) for (const column of ["at", "min", "mean", "max"]) this.#columns[column].pop();
  }

  #push(at, amount) {
    this.#columns.at.push(at);
    for (const column of ["min", "mean", "max"]) this.#columns[column].push(amount);
  }

  #silence() {
    const at = this.#columns.at.slice(-20);
    const steps = at.slice(1).map((one, index) => one - at[index]).sort((a, b) => a - b);
    return Math.max(BREAK * (steps[Math.floor(steps.length * 0.9)] ?? 30), 90);
  }

  #data() {
    const { at, min, mean, max } = this.#columns;
    return [at, max, min, mean];
  }

  #draw() {
    const columns = this.#columns;
    if (!columns || columns.at.length === 0) {
      this.#plot?.destroy();
      this.#plot = null;
      return;
    }
    if (this.#plot && this.#plot.kind === columns.kind && this.#plot.dark === isDark()) {
      this.#plot.setData(this.#data());
      return;
    }
    this.#plot?.destroy();
    this.#plot = new uPlot(this.#options(), this.#data(), this.#elements.plot);
    this.#plot.kind = columns.kind;
    this.#plot.dark = isDark();
  }

  #options() {
    const binary = this.#columns.kind === "binary";
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const axis = {
      stroke: color("--muted"),
      font: "12px system-ui, sans-serif",
      grid: { stroke: color("--line"), width: 1 },
      ticks: { show: false },
    };
    const paths = binary ? uPlot.paths.stepped({ align: 1 }) : uPlot.paths.linear();
    const hidden = { stroke: "transparent", paths, points: { show: false } };
    return {
      ...this.#size(),
      padding: [12, 22, 0, 0], // half a time of the day fits beside the last tick
      legend: { show: false },
      cursor: {
        drag: { x: false, y: false },
        y: false,
        points: { show: (u, series) => marker(series === 3) },
        // Between two changes the earlier one holds.
        dataIdx: (u, series, nearest, at) => (binary && nearest > 0 && this.#columns.at[nearest] > at ? nearest - 1 : nearest),
      },
      scales: {
        x: { time: true, range: () => [this.#columns.since, this.#columns.until] },
        y: { range: binary ? () => [-0.15, 1.15] : (u, low, high) => span(low, high) },
      },
      axes: [
        { ...axis, space: 64, size: 28, values: (u, splits, index, space, step) => splits.map((at) => tickWord(at, step)) },
        binary
          ? { ...axis, size: 64, splits: () => [0, 1], values: () => [this.#word(0), this.#word(1)] }
          : { ...axis, size: 52, space: 36 },
      ],
      series: [
        {},
        hidden,
        hidden,
        {
          stroke: color("--accent"),
          width: 2,
          paths,
          fill: binary ? color("--accent-soft") : (u) => fading(u, color("--accent-soft")),
          points: {
            show: (u, index, from, to) => !binary && to - from < 3,
            filter: (u, index, shown) => (binary || shown ? null : alone(u.data[index])),
          },
        },
      ],
      bands: binary ? [] : [{ series: [1, 2], fill: color("--accent-soft") }],
      hooks: {
        drawAxes: [(u) => this.#shade(u, color("--gap"), color("--gap-edge"))],
        setCursor: [(u) => this.#point(u)],
      },
    };
  }

  // Where nothing was recorded, or nobody knew the time: hatched, behind the line.
  #shade(plot, fill, edge) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const gap of this.#columns.gaps) {
      const left = plot.valToPos(gap.since, "x", true);
      const width = Math.max(plot.valToPos(gap.until ?? this.#columns.until, "x", true) - left, 2 * devicePixelRatio);
      ctx.fillStyle = gap.cause === "clock unset" ? fill : hatching(ctx, fill, edge);
      ctx.fillRect(left, bbox.top, width, bbox.height);
    }
    ctx.restore();
  }

  // The gap under the cursor, the shortest where several lie over each other.
  #gapAt(plot) {
    if (plot.cursor.left < 0) return null;
    const at = plot.posToVal(plot.cursor.left, "x");
    const near = 3 * (plot.posToVal(1, "x") - plot.posToVal(0, "x"));
    const length = (gap) => (gap.until ?? this.#columns.until) - gap.since;
    return this.#columns.gaps
      .filter((gap) => at >= gap.since - near && at <= (gap.until ?? this.#columns.until) + near)
      .sort((a, b) => length(a) - length(b))[0] ?? null;
  }

  #tip(plot, gap) {
    const tip = plot.over.querySelector(".gap-tip") ?? plot.over.appendChild(document.createElement("div"));
    tip.className = "gap-tip";
    tip.hidden = gap === null;
    if (gap === null) return;
    set(tip, words.gap(gap, this.#house));
    const room = plot.over.clientWidth - tip.offsetWidth;
    tip.style.left = `${Math.max(0, Math.min(room, plot.cursor.left - tip.offsetWidth / 2))}px`;
  }

  #size() {
    const { clientWidth, clientHeight } = this.#elements.plot;
    return { width: Math.max(clientWidth, 120), height: Math.max(clientHeight, 120) };
  }

  #fit() {
    this.#plot?.setSize(this.#size());
  }

  #kind() {
    return this.#house.values.get(this.topic)?.kind ?? this.#columns?.quantity ?? this.topic.split("/").at(-1);
  }

  #word(amount) {
    if (this.#columns.kind === "binary") return words.state(this.#kind(), amount > 0.5);
    const unit = this.#columns.unit ?? this.#house.values.get(this.topic)?.unit ?? "";
    return `${words.number(this.#kind(), amount)}\u00a0${unit}`.trim();
  }

  #point(plot) {
    const index = plot.cursor.idx;
    const { at, mean, min, max, until } = this.#columns;
    const gap = this.#gapAt(plot);
    this.#tip(plot, gap);
    if (gap !== null && gap.cause !== "clock unset") {
      this.#facts(`${words.gap(gap, this.#house)}, ${words.span(gap)}`, false);
      return;
    }
    if (index === null || index === undefined || plot.cursor.left < 0 || mean[index] === null) {
      this.#summary();
      return;
    }
    const when = until - this.#columns.since > 86_400 ? words.moment(at[index]) : words.clock(at[index]);
    const wide = this.#columns.kind !== "binary" && min[index] !== max[index];
    this.#facts(`${this.#columns.kind === "binary" ? `Since ${when}` : when}: ${this.#word(mean[index])}${wide ? ` (${this.#word(min[index])} to ${this.#word(max[index])})` : ""}`, false);
  }

  #summary() {
    const { at, mean, min, max } = this.#columns;
    if (this.#plot && this.#plot.cursor.left >= 0) return; // somebody is reading a point
    const known = at.map((one, index) => index).filter((index) => mean[index] !== null && at[index] >= this.#columns.since - 1);
    if (known.length === 0) {
      const gap = this.#columns.gaps.find((one) => one.cause !== "clock unset"); // then readings are there
      this.#facts(gap ? `No readings in this stretch of time: ${words.gap(gap, this.#house)}` : "No readings in this stretch of time.");
    } else if (this.#columns.kind === "binary") {
      const changes = known.filter((index, place) => place > 0 && mean[index] !== mean[known[place - 1]]).length;
      const now = mean.at(-1) === null ? `Last ${this.#word(mean[known.at(-1)])}` : `Now ${this.#word(mean.at(-1))}`;
      this.#facts(`${now.toLowerCase().replace(/^./, (first) => first.toUpperCase())}; changed ${changes === 1 ? "once" : `${changes} times`}`);
    } else {
      const low = known.reduce((least, index) => Math.min(least, min[index]), Infinity);
      const high = known.reduce((most, index) => Math.max(most, max[index]), -Infinity);
      this.#facts(`Lowest ${this.#word(low)}, highest ${this.#word(high)}`);
    }
  }

  #facts(sentence, announced = true) {
    const { facts, plot, heading, room } = this.#elements;
    set(facts, sentence);
    facts.setAttribute("aria-live", announced ? "off" : "polite");
    plot.setAttribute("aria-label", `Chart of ${heading.textContent}, ${room.textContent}. ${sentence}. Arrow keys read single points.`);
  }

  #step(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -Infinity, End: Infinity }[event.key];
    if (move === undefined || !this.#plot) return;
    event.preventDefault();
    const { at, mean } = this.#columns;
    const last = at.length - 1;
    let index = Math.min(last, Math.max(0, (this.#plot.cursor.left >= 0 ? this.#plot.cursor.idx ?? last : last) + move));
    while (mean[index] === null && index > 0 && index < last) index += Math.sign(move);
    this.#plot.setCursor({ left: this.#plot.valToPos(at[index], "x"), top: 10 });
  }
}

// Where the cursor stands on a line; the edges of the band have none.
function marker(shown) {
  const dot = document.createElement("div");
  dot.className = shown ? "marker" : "marker-none";
  return dot;
}

function hatching(ctx, fill, edge) {
  const size = 8 * devicePixelRatio;
  const tile = document.createElement("canvas");
  tile.width = tile.height = size;
  const draw = tile.getContext("2d");
  draw.fillStyle = fill;
  draw.fillRect(0, 0, size, size);
  draw.strokeStyle = edge;
  draw.lineWidth = devicePixelRatio;
  for (const shift of [-size, 0, size]) {
    draw.moveTo(shift, size);
    draw.lineTo(shift + size, 0);
  }
  draw.stroke();
  return ctx.createPattern(tile, "repeat");
}

function fading(plot, color) {
  const gradient = plot.ctx.createLinearGradient(0, plot.bbox.top, 0, plot.bbox.top + plot.bbox.height);
  gradient.addColorStop(0, color);
  gradient.addColorStop(1, "transparent");
  return gradient;
}

const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;

// A little room above and below; never so fine that noise fills the chart.
function span(low, high) {
  if (low === null || high === null) return [0, 1];
  const middle = (low + high) / 2;
  const height = Math.max((high - low) * 1.2, Math.abs(middle) * 0.05, 0.1);
  return [low >= 0 && middle - height / 2 < 0 ? 0 : middle - height / 2, middle + height / 2];
}

function tickWord(at, step) {
  if (step >= 86_400) return words.day(at);
  const date = new Date(at * 1000);
  return date.getHours() === 0 && date.getMinutes() === 0 ? words.day(at) : words.shortClock(at);
}

function set(node, content) {
  if (node.textContent !== content) node.textContent = content;
}

// Where a value stands between two breaks, and no line leads to it.
function alone(values) {
  const there = (at) => (values[at] ?? null) !== null;
  return [...values.keys()].filter((at) => there(at) && !there(at - 1) && !there(at + 1));
}
