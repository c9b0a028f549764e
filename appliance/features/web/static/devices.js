// The devices: who is there and who is not.

import * as words from "./words.js";

export class Devices {
  #list;
  #summary;
  #house;
  #items = new Map();

  constructor(list, summary, house) {
    this.#list = list;
    this.#summary = summary;
    this.#house = house;
  }

  refresh() {
    const devices = [...this.#house.devices.values()].sort((a, b) => words.compare(a.name, b.name));
    for (const agent of this.#items.keys()) if (!this.#house.devices.has(agent)) this.#items.delete(agent);
    this.#list.replaceChildren(...(devices.length ? devices.map((device) => this.#item(device)) : [this.#none()]));
    const online = devices.filter((device) => device.online).length;
    const offline = devices.filter((device) => device.online === false).length;
    const failing = devices.reduce((sum, device) => sum + this.#troubles(device).length, 0);
    const troubles = [offline > 0 && `${offline} of ${devices.length} offline`, failing > 0 && `${words.counted(failing, "sensor")} failing`].filter(Boolean);
    this.#summary.textContent = troubles.length > 0 ? troubles.join(", ")
      : devices.length === 0 ? "No devices" : `${words.counted(online, "device")} online`;
    this.#summary.classList.toggle("bad", troubles.length > 0);
  }

  // What a device said last of its sensors counts only while it is there to say otherwise.
  #troubles(device) {
    return device.online === false ? [] : Object.entries(device.troubles);
  }

  #none() {
    const item = document.createElement("li");
    item.className = "muted";
    item.textContent = "No agent has introduced itself yet.";
    return item;
  }

  #item(device) {
    let item = this.#items.get(device.agent);
    if (!item) {
      item = document.createElement("li");
      item.innerHTML = '<span class="dot" aria-hidden="true"></span><span class="who"><b></b><span class="muted"></span><ul class="troubles"></ul></span><span class="state"></span>';
      this.#items.set(device.agent, item);
    }
    const state = device.online === null ? "unknown" : device.online ? "online" : "offline";
    item.dataset.state = state;
    item.dataset.agent = device.agent;
    item.querySelector("b").textContent = device.name === device.agent ? words.capital(device.name) : device.name;
    const sensors = words.counted(device.sensors, "reading");
    item.querySelector(".muted").textContent = [device.model, device.sensors > 0 ? sensors : null, device.version && `version ${device.version}`].filter(Boolean).join(" · ");
    item.querySelector(".state").textContent = state;
    item.querySelector(".troubles").replaceChildren(...this.#troubles(device).map(([name, why]) => {
      const line = document.createElement("li");
      const who = document.createElement("b");
      who.textContent = name;
      line.append(who, why ? `: ${why}` : " cannot be read");
      return line;
    }));
    return item;
  }
}
