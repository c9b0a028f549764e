// Joins the parts: frames of the live feed go into the house, the house onto the page.

import { Chart } from "./chart.js";
import { Devices } from "./devices.js";
import { firstReading } from "./first.js";
import { Gaps } from "./gaps.js";
import { House } from "./house.js";
import { Live } from "./live.js";
import { Notices } from "./notices.js";
import { Rooms } from "./rooms.js";
import * as words from "./words.js";

const byId = (id) => document.getElementById(id);
const REMEMBERED = "chart-topic";

const house = new House();
const rooms = new Rooms(byId("rooms"), house, choose, flip);
const devices = new Devices(byId("device-list"), byId("online"), house);
const gaps = new Gaps(byId("gaps"), byId("gap-list"), byId("more-gaps"), house);
const chart = new Chart(
  {
    ranges: byId("ranges"), plot: byId("plot"), facts: byId("chart-facts"), heading: byId("chart-title"),
    room: byId("chart-room"), now: byId("chart-now"),
  },
  house,
);
const picker = byId("series");
picker.addEventListener("change", () => show(picker.value));

let linkState = "connecting";
let stores = true;
let hub = null; // its last status

const live = new Live(onFrame, onState);
byId("retry").addEventListener("click", () => live.retry());
live.open();
new Notices(byId("notices"), onStatus).refresh();
setInterval(() => rooms.refresh(), 1_000);
setInterval(() => chart.tick(), 5_000);

function onFrame(frame) {
  const anew = house.apply(frame);
  if (anew) {
    rooms.build();
    showFirstReading();
    nameSite();
    if (house.values.size > 0) byId("chart").hidden = false; // before anything is drawn in it
    fillPicker();
    if (chart.topic === null) showFirst();
  } else {
    rooms.refresh(frame.values.map((value) => value.topic));
  }
  if (anew || frame.devices.length > 0) {
    devices.refresh();
    gaps.refresh();
    rooms.refresh();
  }
  if (frame.type === "snapshot") chart.load();
  for (const value of frame.values) chart.add(value);
  document.querySelector("main").removeAttribute("data-loading");
}

function onState(state, reason) {
  const banner = byId("banner");
  if (linkState === state) return; // said once, however often it is tried
  linkState = state;
  showLink();
  document.body.classList.toggle("lost", state === "lost");
  if (state === "lost") {
    const since = house.heardAt ? `These values are from ${words.clock(house.heardAt)}. ` : "";
    byId("banner-text").textContent = reason ? `The appliance says: ${reason}.` : `${since}Trying again.`;
  }
  banner.hidden = state !== "lost";
}

function onStatus(status, isStoring) {
  stores = isStoring;
  hub = status;
  showLink();
  showFirstReading();
}

function showLink() {
  const state = linkState === "live" && !stores ? "unstored" : linkState;
  const link = byId("link");
  if (link.dataset.state === state) return;
  link.dataset.state = state;
  link.querySelector(".word").textContent = { live: "Live", lost: "Offline", unstored: "Unsaved" }[state] ?? "Connecting";
}

// While there are no rooms: how that changes. Set once, so that nobody's selection of it is lost.
function showFirstReading() {
  const part = document.querySelector(".first");
  if (!part || part.hasChildNodes() || hub === null) return;
  for (const [sentence, lines] of firstReading(house.site, hub, location)) {
    part.append(element("p", sentence));
    if (lines) part.append(element("pre", "", element("code", lines)));
  }
}

function element(name, text, ...inner) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...inner);
  return made;
}

function nameSite() {
  const name = words.place(house.site);
  byId("site").textContent = name;
  document.title = `${name} sensors`;
}

// All that can be drawn: what is live, and what only the history remembers.
async function fillPicker() {
  const options = new Map();
  for (const value of house.values.values()) {
    if (typeof value.value === "string") continue;
    options.set(value.topic, `${words.place(value.room)}: ${words.name(value)}`);
  }
  try {
    const answer = await fetch(new URL("/api/topics", location.origin));
    if (answer.ok) {
      for (const series of await answer.json()) {
        if (series.kind !== "text" && !options.has(series.topic)) options.set(series.topic, series.topic);
      }
    }
  } catch {
    // the banner tells
  }
  const sorted = [...options].sort(([, a], [, b]) => words.compare(a, b));
  byId("chart").hidden = sorted.length === 0;
  picker.replaceChildren(...sorted.map(([topic, label]) => new Option(label, topic, false, topic === chart.topic)));
}

function showFirst() {
  const topics = [...house.values.values()].filter((value) => typeof value.value === "number");
  const remembered = localStorage.getItem(REMEMBERED);
  const first = house.values.get(remembered) ?? topics.find((value) => value.kind === "temperature") ?? topics[0];
  if (first) show(first.topic);
}

function show(topic) {
  localStorage.setItem(REMEMBERED, topic);
  rooms.select(topic);
  picker.value = topic;
  chart.show(topic);
}

// Somebody asked for a tile's chart: on a phone it is further down.
function choose(topic) {
  show(topic);
  const gentle = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  const panel = byId("chart");
  const { top, bottom } = panel.getBoundingClientRect();
  if (top < 0 || bottom > innerHeight) panel.scrollIntoView({ block: "start", behavior: gentle ? "smooth" : "auto" });
}

// Ask for ON or OFF; gives null or what went wrong. With `problem` it only says so.
async function flip(value, on, problem) {
  let wrong = problem;
  if (wrong === null) {
    try {
      const answer = await fetch(new URL("/api/publish", location.origin), {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ topic: value.command_topic, payload: on ? "ON" : "OFF" }),
      });
      if (!answer.ok) wrong = (await answer.json()).error;
    } catch {
      wrong = "The appliance cannot be reached.";
    }
  }
  if (wrong !== null) tell(wrong);
  return wrong;
}

let toastTimer = 0;

function tell(sentence) {
  const toast = byId("toast");
  toast.textContent = sentence;
  toast.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => toast.classList.remove("shown"), 6_000);
}
