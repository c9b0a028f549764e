// How values, times and places are put into words.

const BINARY = {
  door: ["Open", "Closed"],
  window: ["Open", "Closed"],
  garage_door: ["Open", "Closed"],
  opening: ["Open", "Closed"],
  motion: ["Motion", "Still"],
  occupancy: ["Occupied", "Empty"],
  presence: ["Present", "Away"],
  moisture: ["Wet", "Dry"],
  leak: ["Leak", "Dry"],
  smoke: ["Smoke", "Clear"],
  gas: ["Gas", "Clear"],
  carbon_monoxide: ["Alarm", "Clear"],
  tamper: ["Tampered", "Fine"],
  under_voltage: ["Too low", "Fine"],
  throttled: ["Slowed down", "Full speed"],
};
const ALARMS = new Set(["moisture", "leak", "smoke", "gas", "carbon_monoxide", "tamper", "under_voltage"]);

const NAMES = {
  co2: "CO₂", carbon_dioxide: "CO₂", carbon_monoxide: "Carbon monoxide", pm25: "PM2.5", pm10: "PM10", voc: "VOC",
  cpu_temperature: "CPU", uv_index: "UV index", rssi: "Signal", wifi_signal: "Wi-Fi", under_voltage: "Power supply",
  throttled: "Processor",
};

// Digits after the point: always the same number, so that a value does not jump from side to side.
const DIGITS = {
  temperature: 1, cpu_temperature: 1, dew_point: 1, humidity: 0, absolute_humidity: 1, pressure: 0,
  atmospheric_pressure: 0, co2: 0, carbon_dioxide: 0, illuminance: 0, light: 0, load: 2, memory: 0, swap: 0, disk: 0,
  wifi_signal: 0, rssi: 0, battery: 0, power: 1, voltage: 2, current: 2,
};

const ICONS = [
  [/bell|button/, "bell"], [/signal|rssi|wifi/, "signal"], [/temperature|dew/, "temperature"], [/humidity|moisture|leak|water|rain/, "humidity"],
  [/motion|occupancy|presence/, "motion"], [/window/, "window"], [/door|opening/, "door"],
  [/illuminance|light|lux/, "light"], [/pressure/, "pressure"], [/co2|carbon|voc|pm\d|air|gas|smoke/, "air"],
  [/memory|cpu|load|swap|throttled/, "chip"], [/disk/, "disk"], [/voltage/, "power"], [/relay|switch|lamp|fan|heater|pump|plug|siren/, "power"],
];

// Room 2 stands before room 10.
export const compare = new Intl.Collator(undefined, { numeric: true }).compare;

export function icon(value) {
  const found = ICONS.find(([pattern]) => pattern.test(value.kind));
  if (found) return found[1];
  return value.role === "switch" ? "power" : value.role === "event" ? "bell" : "value";
}

export function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export function place(level) {
  return capital(level.replace(/[_-]+/g, " ").replace(/^(living|dining|laundry|guest|utility|bath|bed)room$/,
    (whole, first) => (first === "bath" || first === "bed" ? whole : `${first} room`)));
}

export function name(value) {
  const plain = value.name || NAMES[value.kind] || place(value.kind);
  return value.label && !value.name ? `${place(value.label)} ${plain.charAt(0).toLowerCase()}${plain.slice(1)}` : plain;
}

const formats = new Map();

function format(digits) {
  if (!formats.has(digits)) {
    formats.set(digits, new Intl.NumberFormat(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  }
  return formats.get(digits);
}

export function number(kind, amount) {
  const known = DIGITS[kind];
  if (known !== undefined) return format(known).format(amount);
  const size = Math.abs(amount);
  return format(Number.isInteger(amount) || size >= 1000 ? 0 : size >= 100 ? 1 : size < 1 ? 3 : 2).format(amount);
}

export function counted(count, thing) {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}

export function state(kind, on) {
  const [yes, no] = BINARY[kind] || ["On", "Off"];
  return on ? yes : no;
}

export function isAlarm(value) {
  return value.value === true && ALARMS.has(value.kind);
}

// What stands large on a tile, and the unit beside it.
export function reading(value) {
  if (value.value === null) return ["–", ""];
  if (typeof value.value === "boolean") return [state(value.kind, value.value), ""];
  if (typeof value.value === "number") return [number(value.kind, value.value), value.unit || ""];
  return [capital(value.value), ""];
}

const was = (gap) => (gap.until === null ? "is" : "was");
const agent = (gap, house) => capital(house.devices.get(gap.name)?.name || gap.name);

const CAUSES = {
  "agent offline": (gap, house) => `${agent(gap, house)} ${was(gap)} offline`,
  "broker down": () => "The appliance was not running",
  "lost to damage": () => "The database was damaged",
  "restored from a backup": () => "A backup was put back",
  "clock unset": (gap) => `The clock ${was(gap)} not set, so times are not sure`,
  "dropped by limit": (gap, house) => `Readings ${gap.scope === "agent" ? `of ${agent(gap, house)} ` : ""}were dropped`,
  "sensor failing": (gap, house) => `${sensor(house.values.get(gap.name))} ${gap.until === null ? "fails" : "was failing"}`,
};

function sensor(value) {
  return value ? `${place(value.room)}: ${name(value)} sensor` : "A sensor";
}

// Why there is a gap; devices and sensors are called as the house knows them.
export function gap(told, house) {
  const cause = CAUSES[told.cause]?.(told, house) ?? capital(told.cause);
  return told.detail ? `${cause} (${told.detail})` : cause;
}

// From when to when, and how long.
export function span({ since, until }) {
  if (until === null) return `since ${moment(since)}`;
  const sameDay = day(since) === day(until);
  return `${moment(since)} to ${sameDay ? clock(until) : moment(until)} (${length(until - since)})`;
}

function length(seconds) {
  for (const [size, unit] of STEPS) if (seconds >= size) return `${Math.round(seconds / size)} ${unit}`;
  return `${Math.max(1, Math.round(seconds))} s`;
}

const STEPS = [[86400, "d"], [3600, "h"], [60, "min"]];

// Coarse on purpose: it changes rarely and never wider than its place.
export function age(seconds) {
  if (seconds < 10) return "just now";
  for (const [size, unit] of STEPS) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  return `${Math.floor(seconds / 10) * 10} s ago`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const SHORT_CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hour12: false });

export const clock = (at) => CLOCK.format(at * 1000);
export const shortClock = (at) => SHORT_CLOCK.format(at * 1000);
export const day = (at) => DAY.format(at * 1000);
export const moment = (at) => MOMENT.format(at * 1000);
