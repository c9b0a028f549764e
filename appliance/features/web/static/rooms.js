// The rooms: one card each, one tile per value. Tiles are made once and then only their text changes.

import * as words from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const ANSWER_MS = 4_000; // how long a switch may take to say that it did

export class Rooms {
  #root;
  #house;
  #tiles = new Map(); // topic -> tile
  #selected = null;
  #onSelect;
  #onSwitch;

  constructor(root, house, onSelect, onSwitch) {
    this.#root = root;
    this.#house = house;
    this.#onSelect = onSelect;
    this.#onSwitch = onSwitch;
  }

  select(topic) {
    this.#selected = topic;
    for (const [each, tile] of this.#tiles) tile.show.setAttribute("aria-pressed", String(each === topic));
  }

  // Set up cards and tiles anew where they differ; what is in place stays, with focus and all.
  build() {
    const rooms = this.#house.rooms();
    if (rooms.length === 0) {
      this.#tiles.clear();
      this.#root.replaceChildren(document.getElementById("empty").content.cloneNode(true));
      return;
    }
    const kept = new Map();
    const cards = rooms.map(([room, values]) => {
      const card = this.#card(room);
      const tiles = values.sort(order).map((value) => {
        const known = this.#tiles.get(value.topic);
        const tile = known && known.role === value.role && known.kind === value.kind ? known : this.#tile(value);
        kept.set(value.topic, tile);
        return tile.root;
      });
      place(card.querySelector(".tiles"), tiles);
      return card;
    });
    this.#tiles = kept;
    place(this.#root, cards);
    this.select(this.#selected);
    this.refresh();
  }

  refresh(topics = this.#tiles.keys()) {
    for (const topic of topics) {
      const tile = this.#tiles.get(topic);
      const value = this.#house.values.get(topic);
      if (tile && value) this.#fill(tile, value);
    }
  }

  #card(room) {
    const id = `room-${room}`;
    const known = document.getElementById(id);
    if (known) return known;
    const card = element("article", "room");
    card.id = id;
    const head = element("h2", "", words.place(room));
    head.id = `${id}-name`;
    card.setAttribute("aria-labelledby", head.id);
    card.append(head, element("ul", "tiles"));
    return card;
  }

  #tile(value) {
    const root = element("li", "tile");
    root.dataset.icon = words.icon(value);
    root.dataset.role = value.role;
    const show = element("button", "show");
    show.type = "button";
    show.setAttribute("aria-pressed", "false");
    const head = element("span", "head");
    const label = element("span", "name");
    head.append(picture(words.icon(value)), label);
    const reading = element("span", "reading");
    const amount = element("span", "amount");
    const unit = element("span", "unit");
    reading.append(amount, unit);
    const age = element("time", "age");
    const why = element("span", "why");
    show.append(head, reading, age, why);
    show.addEventListener("click", () => this.#onSelect(value.topic));
    root.append(show);
    const tile = { root, show, label, reading, amount, unit, age, why, kind: value.kind, role: value.role, toggle: null, wanted: null, timer: 0 };
    if (value.role === "switch") {
      tile.toggle = element("button", "toggle");
      tile.toggle.type = "button";
      tile.toggle.setAttribute("role", "switch");
      tile.toggle.append(element("span", "knob"));
      tile.toggle.addEventListener("click", () => this.#flip(tile, value.topic));
      root.append(tile.toggle);
    }
    return tile;
  }

  #fill(tile, value) {
    const [amount, unit] = words.reading(value);
    const offline = this.#house.isOffline(value);
    const name = words.name(value);
    text(tile.label, name);
    text(tile.amount, amount);
    text(tile.unit, unit);
    length(tile.reading, "--digits", amount);
    length(tile.reading, "--letters", unit);
    const said = value.at === null ? "" : words.age(this.#house.now() - value.at);
    text(tile.age, offline ? (said ? `offline · ${said}` : "offline") : said || (value.value === null ? "no value yet" : "\u00a0"));
    text(tile.why, offline ? value.trouble : "");
    if (value.at !== null) {
      const when = new Date(value.at * 1000).toISOString();
      if (tile.age.dateTime !== when) {
        tile.age.dateTime = when;
        tile.age.title = words.moment(value.at);
      }
    }
    flag(tile.root, "offline", offline);
    flag(tile.root, "late", !offline && this.#house.isLate(value));
    flag(tile.root, "on", value.value === true);
    flag(tile.root, "alarm", words.isAlarm(value));
    if (tile.toggle) this.#fillToggle(tile, value, offline, name);
  }

  #fillToggle(tile, value, offline, name) {
    if (tile.wanted !== null && value.value === tile.wanted) this.#settle(tile);
    const on = tile.wanted ?? value.value === true;
    attribute(tile.toggle, "aria-checked", String(on));
    attribute(tile.toggle, "aria-label", `${name}, ${words.place(value.room)}`);
    attribute(tile.toggle, "aria-busy", String(tile.wanted !== null));
    tile.toggle.disabled = offline || !value.command_topic;
  }

  async #flip(tile, topic) {
    const value = this.#house.values.get(topic);
    if (!value || tile.wanted !== null) return;
    tile.wanted = value.value !== true;
    this.#fill(tile, value);
    const problem = await this.#onSwitch(value, tile.wanted, null);
    if (problem !== null) {
      this.#settle(tile);
      this.refresh([topic]);
      return;
    }
    clearTimeout(tile.timer);
    tile.timer = setTimeout(() => {
      if (tile.wanted === null) return;
      this.#settle(tile);
      this.refresh([topic]);
      this.#onSwitch(value, null, `${words.name(value)} did not answer.`);
    }, ANSWER_MS);
    this.refresh([topic]);
  }

  #settle(tile) {
    clearTimeout(tile.timer);
    tile.wanted = null;
  }
}

const RANK = { temperature: 0, humidity: 1 };

// Climate first, then other numbers, then what is on or off, then what can be switched.
function order(a, b) {
  const rank = (value) => RANK[value.kind] ?? { sensor: 2, binary_sensor: 3, event: 4, switch: 5 }[value.role];
  return rank(a) - rank(b) || words.compare(a.topic, b.topic);
}

function element(tag, className, content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (content !== undefined) made.textContent = content;
  return made;
}

function picture(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

// Put children in this order, moving only those that are elsewhere: a moved element would lose its focus.
function place(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  children.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
}

function text(node, content) {
  if (node.textContent !== content) node.textContent = content;
}

// Tells the style how long a text is, which makes a long number smaller where a tile is narrow.
function length(node, name, content) {
  const count = String(content.length);
  if (node.style.getPropertyValue(name) !== count) node.style.setProperty(name, count);
}

function attribute(node, name, content) {
  if (node.getAttribute(name) !== content) node.setAttribute(name, content);
}

function flag(node, name, on) {
  if (node.classList.contains(name) !== on) node.classList.toggle(name, on);
}
