// Server-sent events that come back: after an answer that was none, where `EventSource` gives up, and after a time in
// which nobody looked. It goes on behind the last event it had.

/** How long to wait before a connection is tried again, in milliseconds: at first, and at most. */
const WAIT = { first: 500, most: 4000 };

export class Feed {
  /**
   * @param {string} path
   * @param {Record<string, (data: any) => void>} listeners by the name of the event
   * @param {(state: "connecting" | "open" | "away") => void} [onState]
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
    this.look = () => (document.hidden ? this.disconnect() : this.connect());
    document.addEventListener("visibilitychange", this.look);
    this.look();
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
      this.onState("away");
      // The browser would try again by itself, but not after every error, and without an end to its patience.
      this.disconnect();
      this.timer = window.setTimeout(() => this.connect(), this.wait);
      this.wait = Math.min(this.wait * 2, WAIT.most);
    };
    for (const [name, listener] of Object.entries(this.listeners)) {
      source.addEventListener(name, (event) => {
        if (event.lastEventId) this.last = event.lastEventId;
        listener(JSON.parse(event.data));
      });
    }
  }

  /** Tries at once, where it would have waited: somebody knows that there is an answer again. */
  hurry() {
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
    document.removeEventListener("visibilitychange", this.look);
    this.disconnect();
  }
}
