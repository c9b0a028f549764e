// What is wrong with the appliance itself, in the words of its status: shown above everything for as long as it lasts.

const EVERY_MS = 60_000;

export class Notices {
  constructor(list) {
    this.list = list;
  }

  begin() {
    this.refresh();
    setInterval(() => this.refresh(), EVERY_MS);
  }

  async refresh() {
    let store;
    try {
      const answer = await fetch(new URL("/api/status", location.origin));
      if (!answer.ok) return;
      ({ store } = await answer.json());
    } catch {
      return; // the banner tells
    }
    const said = store ? [store.trouble, ...store.damages].filter(Boolean) : [];
    this.list.replaceChildren(...said.map((text) => {
      const item = document.createElement("li");
      item.textContent = text;
      return item;
    }));
    this.list.hidden = said.length === 0;
  }
}
