// The last gaps: when nothing was recorded, and why.

import * as words from "./words.js";

const REFRESH_MS = 60_000;
const SHOWN = 6;

export class Gaps {
  #panel;
  #list;
  #timer = 0;

  constructor(panel, list) {
    this.#panel = panel;
    this.#list = list;
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.refresh());
  }

  async refresh() {
    clearTimeout(this.#timer);
    if (document.visibilityState !== "visible") return;
    this.#timer = setTimeout(() => this.refresh(), REFRESH_MS);
    try {
      const answer = await fetch(new URL(`/api/gaps?limit=${SHOWN}`, location.origin));
      if (answer.ok) this.#show(await answer.json());
    } catch {
      // the banner tells
    }
  }

  #show(gaps) {
    this.#panel.hidden = gaps.length === 0;
    this.#list.replaceChildren(...gaps.map((gap) => {
      const item = document.createElement("li");
      item.innerHTML = '<span class="who"><b></b><span class="muted"></span></span>';
      item.querySelector("b").textContent = words.gap(gap);
      item.querySelector(".muted").textContent = words.span(gap);
      return item;
    }));
  }
}
