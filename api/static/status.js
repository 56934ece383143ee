// The status line: connected or not, the epoch of the cells, and how many of them change per second.

const WINDOW_MS = 5_000;

export class Status {
  #state = "connecting";
  #paused = false;
  #epoch = null;
  #changes = [];

  constructor(host, text) {
    this.host = host;
    this.text = text;
    setInterval(() => this.#show(), 1_000);
  }

  state(state) {
    this.#state = state;
    this.#show();
  }

  // Whether the person has paused; the cells are as of the epoch shown.
  pause(paused) {
    this.#paused = paused;
    this.#show();
  }

  changed(epoch, count) {
    this.#epoch = epoch;
    if (count) this.#changes.push([performance.now(), count]);
    this.#show();
  }

  #show() {
    const since = performance.now() - WINDOW_MS;
    this.#changes = this.#changes.filter(([at]) => at > since);
    const rate = this.#changes.reduce((sum, [, count]) => sum + count, 0) / (WINDOW_MS / 1_000);
    const state = this.#paused && this.#state === "live" ? "paused" : this.#state;
    const words = { connecting: "connecting", live: "live", paused: "paused", offline: "offline, trying again" }[state];
    this.host.dataset.state = state;
    this.text.textContent = this.#epoch === null
      ? words
      : `${words} · epoch ${this.#epoch.toLocaleString()} · ${rate.toLocaleString(undefined, { maximumFractionDigits: rate < 10 ? 1 : 0 })} changes/s`;
  }
}
