// What is wrong with the appliance itself, in the words of its status: shown above everything for as long as it lasts.
// What went wrong once and is over, such as damage that was mended, looks less pressing.

const EVERY_MS = 3_000; // only while somebody looks
const CUT_S = 86_400;
const REFUSES = "New readings are not being saved. Devices that can will send them again.";

// What went wrong before. That the last run was cut off is news for a day; the status says it until the next start.
function past(store, uptimeS) {
  return store.cut && uptimeS < CUT_S ? [...store.damages, store.cut.text] : store.damages;
}

export class Notices {
  #list;
  #onStatus;
  #timer = 0;
  #shown = "";

  // onStatus(status, stores): what the appliance says of itself, and whether what arrives is being stored.
  constructor(list, onStatus) {
    this.#list = list;
    this.#onStatus = onStatus;
    document.addEventListener("visibilitychange", () => this.refresh());
  }

  async refresh() {
    clearTimeout(this.#timer);
    if (document.visibilityState !== "visible") return;
    const timer = this.#timer = setTimeout(() => this.refresh(), EVERY_MS);
    let status;
    try {
      const answer = await fetch(new URL("/api/status", location.origin));
      if (!answer.ok) return;
      status = await answer.json();
    } catch {
      return; // the banner tells
    }
    if (timer !== this.#timer) return; // a later answer says more
    const { store } = status;
    const now = store ? [store.trouble, store.refuses ? REFUSES : null].filter(Boolean) : [];
    this.#show(now.concat(store ? past(store, status.uptime_s) : []), now.length === 0);
    this.#onStatus(status, !store || (!store.trouble && !store.refuses));
  }

  #show(lines, isOver) {
    const said = lines.map((line) => line.charAt(0).toUpperCase() + line.slice(1));
    const text = said.join("\n");
    if (text === this.#shown) return; // said once, however often it is asked
    this.#shown = text;
    this.#list.replaceChildren(...said.map((line) => {
      const item = document.createElement("li");
      item.textContent = line;
      return item;
    }));
    this.#list.classList.toggle("over", isOver);
    this.#list.hidden = said.length === 0;
  }
}
