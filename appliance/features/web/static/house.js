// What the page knows: the last snapshot with all changes since.

import * as words from "./words.js";

export class House {
  values = new Map(); // topic -> value
  devices = new Map(); // agent -> device
  site = "";
  unshown = 0;
  heardAt = 0; // server's time of the last frame
  #ahead = 0; // seconds by which the server's clock is ahead of ours

  // Returns true when everything may be different, false when only values and devices that were there are.
  apply(frame) {
    this.#ahead = frame.at - Date.now() / 1000;
    this.heardAt = frame.at;
    const whole = frame.type === "snapshot";
    if (whole) {
      this.values.clear();
      this.devices.clear();
      this.site = frame.site;
      this.unshown = frame.unshown;
    }
    let structure = whole || frame.gone.length > 0;
    for (const topic of frame.gone ?? []) this.values.delete(topic);
    for (const device of frame.devices) {
      structure ||= !this.devices.has(device.agent);
      this.devices.set(device.agent, device);
    }
    for (const value of frame.values) {
      const before = this.values.get(value.topic);
      structure ||= !before || before.role !== value.role || before.kind !== value.kind;
      this.values.set(value.topic, value);
    }
    return structure;
  }

  now() {
    return Date.now() / 1000 + this.#ahead;
  }

  rooms() {
    const rooms = new Map();
    for (const value of this.values.values()) {
      if (!rooms.has(value.room)) rooms.set(value.room, []);
      rooms.get(value.room).push(value);
    }
    return [...rooms].sort(([a], [b]) => words.compare(a, b));
  }

  isOffline(value) {
    return value.failing || (value.agent !== null && this.devices.get(value.agent)?.online === false);
  }

  // Polled sensors speak at least every few intervals; those that speak on change are never late.
  isLate(value) {
    return value.at !== null && value.interval_s !== null && this.now() - value.at > Math.max(3 * value.interval_s, 90);
  }
}
