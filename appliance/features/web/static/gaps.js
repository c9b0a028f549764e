// The last gaps: when nothing was recorded, and why.

import * as words from "./words.js";

const REFRESH_MS = 60_000;
const SHOWN = 6; // until somebody wants all
const LIMIT = 1_000;

export class Gaps {
  #panel;
  #list;
  #more;
  #house;
  #timer = 0;
  #gaps = [];
  #all = false;

  constructor(panel, list, more, house) {
    this.#panel = panel;
    this.#list = list;
    this.#more = more;
    this.#house = house;
    more.addEventListener("click", () => {
      this.#all = !this.#all;
      this.#show();
    });
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.refresh());
  }

  async refresh() {
    clearTimeout(this.#timer);
    if (document.visibilityState !== "visible") return;
    this.#timer = setTimeout(() => this.refresh(), REFRESH_MS);
    try {
      const answer = await fetch(new URL(`/api/gaps?limit=${LIMIT}`, location.origin));
      if (!answer.ok) return;
      this.#gaps = await answer.json();
      this.#show();
    } catch {
      // the banner tells
    }
  }

  #show() {
    const gaps = this.#gaps;
    this.#panel.hidden = gaps.length === 0;
    this.#more.hidden = gaps.length <= SHOWN;
    this.#more.textContent = this.#all ? "Show fewer" : `Show all ${gaps.length}`;
    this.#more.setAttribute("aria-expanded", this.#all);
    this.#list.replaceChildren(...gaps.slice(0, this.#all ? LIMIT : SHOWN).map((gap) => {
      const item = document.createElement("li");
      item.innerHTML = '<span class="who"><b></b><span class="muted"></span></span>';
      item.querySelector("b").textContent = words.gap(gap, this.#house);
      item.querySelector(".muted").textContent = words.span(gap);
      return item;
    }));
  }
}
