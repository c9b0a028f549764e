// The live feed: one WebSocket, opened again whenever it is lost.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
const SILENCE_MS = 40_000; // the server says something every 15 s
const TRY_LATER = 1013;

export class Live {
  #socket = null;
  #waitMs = FIRST_WAIT_MS;
  #timer = 0;
  #watch = 0;
  #onFrame;
  #onState;

  // onState(state, reason) with state "live" or "lost"; the reason is what the server gave, if it did.
  constructor(onFrame, onState) {
    this.#onFrame = onFrame;
    this.#onState = onState;
    addEventListener("online", () => this.retry());
    addEventListener("pageshow", () => this.retry());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.retry());
  }

  open() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/api/live`);
    this.#socket = socket;
    this.#heard();
    socket.onmessage = (event) => {
      if (socket !== this.#socket) return;
      this.#heard();
      const frame = JSON.parse(event.data);
      if (frame.type === "beat") return;
      this.#waitMs = FIRST_WAIT_MS;
      this.#onState("live", "");
      this.#onFrame(frame);
    };
    socket.onclose = (event) => socket === this.#socket && this.#lost(event.code === TRY_LATER ? event.reason : "");
  }

  // Try at once if the connection is down; does nothing while it is up.
  retry() {
    if (this.#timer) this.open();
  }

  #heard() {
    clearTimeout(this.#watch);
    const socket = this.#socket;
    // A phone that slept may hold a dead connection that nobody closes.
    this.#watch = setTimeout(() => {
      if (socket !== this.#socket) return;
      socket.close();
      this.#lost("");
    }, SILENCE_MS);
  }

  #lost(reason) {
    clearTimeout(this.#watch);
    this.#socket = null;
    const waitMs = this.#waitMs * (0.75 + Math.random() / 2);
    this.#waitMs = Math.min(this.#waitMs * 2, LONGEST_WAIT_MS);
    this.#onState("lost", reason);
    this.#timer = setTimeout(() => this.open(), waitMs);
  }
}
