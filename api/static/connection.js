// One websocket, kept alive: reconnects with backoff and resumes each subscription after the last epoch it got, with all
// that it missed as one change.

const FIRST_RETRY_MS = 300;
const LAST_RETRY_MS = 10_000;

export class Connection extends EventTarget {
  #socket = null;
  #retry = FIRST_RETRY_MS;
  #subscriptions = new Map();
  #next = 0;

  // Events: "state" (detail: connecting | live | offline).
  constructor(url) {
    super();
    this.url = url;
    this.#connect();
  }

  // handlers: {frame(frame), paused(), failed({code, message})}; returns the id to unsubscribe with.
  subscribe(cube, query, handlers) {
    const id = `q${this.#next++}`;
    this.#subscriptions.set(id, { cube, query, handlers, epoch: null, run: null, paused: false });
    this.#request(id);
    return id;
  }

  unsubscribe(id) {
    if (this.#subscriptions.delete(id)) this.#send({ op: "unsubscribe", id });
  }

  // From the call of `paused` on nothing comes; once it goes on all that it missed, as one change.
  pause(id, paused) {
    const subscription = this.#subscriptions.get(id);
    if (!subscription) return;
    subscription.paused = paused;
    this.#send({ op: paused ? "pause" : "resume", id });
  }

  #connect() {
    this.#state("connecting");
    const socket = this.#socket = new WebSocket(this.url);
    socket.onopen = () => {
      this.#retry = FIRST_RETRY_MS;
      this.#state("live");
      for (const id of this.#subscriptions.keys()) this.#request(id);
    };
    socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    socket.onclose = () => {
      this.#state("offline");
      setTimeout(() => this.#connect(), this.#retry * (0.75 + Math.random() / 2));
      this.#retry = Math.min(this.#retry * 2, LAST_RETRY_MS);
    };
  }

  #receive(message) {
    const subscription = this.#subscriptions.get(message.id);
    if (!subscription) return;
    if (message.type === "subscribed") subscription.run = message.run;
    if (subscription.paused && ["paused", "subscribed"].includes(message.type)) subscription.handlers.paused();
    if (message.type === "snapshot" || message.type === "change") {
      subscription.epoch = message.epoch;
      subscription.handlers.frame(message);
    }
    if (message.type === "error") {
      this.#subscriptions.delete(message.id);
      subscription.handlers.failed(message);
    }
  }

  #request(id) {
    const { cube, query, epoch, run, paused } = this.#subscriptions.get(id);
    const fresh = epoch === null;
    this.#send({ op: "subscribe", id, cube, query, from_epoch: epoch, run: fresh ? null : run, paused: paused || !fresh });
    if (!paused && !fresh) this.#send({ op: "resume", id });
  }

  #send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #state(state) {
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}
