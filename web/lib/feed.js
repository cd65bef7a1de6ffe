// Server-sent events that reconnect: after an error response, on which `EventSource` stops, and after the document was
// hidden. The feed resumes after its last event.

/** How long to wait before reconnecting, in milliseconds: at first, and at most. */
const WAIT = { first: 500, max: 4000 };

export class Feed {
  /**
   * @param {string} path
   * @param {Record<string, (data: any) => void>} listeners by event name
   * @param {(state: "connecting" | "open" | "unavailable") => void} [onState]
   */
  constructor(path, listeners, onState = () => {}) {
    this.path = path;
    this.listeners = listeners;
    this.onState = onState;
    this.last = "";
    this.wait = WAIT.first;
    this.timer = 0;
    this.closed = false;
    /** @type {EventSource | null} */
    this.source = null;
    this.update = () => (document.hidden ? this.disconnect() : this.connect());
    document.addEventListener("visibilitychange", this.update);
    this.update();
  }

  connect() {
    if (this.source || this.closed || document.hidden) return;
    clearTimeout(this.timer);
    this.onState("connecting");
    const url = new URL(this.path, location.href);
    if (this.last) url.searchParams.set("lastEventId", this.last);
    const source = new EventSource(url);
    this.source = source;
    source.onopen = () => {
      this.wait = WAIT.first;
      this.onState("open");
    };
    source.onerror = () => {
      this.onState("unavailable");
      // The browser reconnects by itself, but not after every error, and without a bound on the delay.
      this.disconnect();
      this.timer = window.setTimeout(() => this.connect(), this.wait);
      this.wait = Math.min(this.wait * 2, WAIT.max);
    };
    for (const [name, listener] of Object.entries(this.listeners)) {
      source.addEventListener(name, (event) => {
        if (event.lastEventId) this.last = event.lastEventId;
        listener(JSON.parse(event.data));
      });
    }
  }

  /** Reconnects at once: the caller knows that the gateway responds again. */
  reconnect() {
    this.wait = WAIT.first;
    if (!this.source) this.connect();
  }

  disconnect() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  close() {
    this.closed = true;
    document.removeEventListener("visibilitychange", this.update);
    this.disconnect();
  }
}
