// Values that the dashboard has read, and their age. One rule for all panels: a value older than `CURRENT` is not shown
// as current, and a value that was never read is not shown as empty.

import { now } from "./clock.js";
import { setText, set } from "./dom.js";
import { ago } from "./format.js";

/** The age up to which a value counts as current, in milliseconds. */
export const CURRENT = 3000;
/** How often ages are checked, in milliseconds. */
const TICK = 500;

/** @typedef {"loading" | "current" | "stale" | "failed"} Condition */

/**
 * The latest value of a query, its time, and the error if a newer read failed.
 *
 * @template T
 */
export class Reading {
  /** @param {T} initial the value before the first read */
  constructor(initial) {
    this.initial = initial;
    this.value = initial;
    /** The time of the value, by the gateway's clock; 0 before the first read. */
    this.at = 0;
    /** The error of the latest read; empty if it succeeded. */
    this.problem = "";
    /** @type {Set<(reading: Reading<T>) => void>} */
    this.listeners = new Set();
    this.timer = 0;
    this.print = "";
  }

  /**
   * @param {T} value
   * @param {number} [at] the time of the value, by the gateway's clock
   */
  got(value, at = now()) {
    this.value = value;
    this.at = at;
    this.problem = "";
    this.notify();
  }

  /** @param {unknown} error */
  failed(error) {
    this.problem = error instanceof Error ? error.message : String(error);
    this.notify();
  }

  /** Resets everything, because the query has changed. */
  reset() {
    this.value = this.initial;
    this.at = 0;
    this.problem = "";
    this.notify();
  }

  /**
   * Reads, and stores the value or the error.
   *
   * @param {() => Promise<T>} query
   */
  async read(query) {
    try {
      this.got(await query());
    } catch (error) {
      this.failed(error);
    }
  }

  /** @returns {Condition} */
  get condition() {
    if (!this.at) return this.problem ? "failed" : "loading";
    return now() - this.at <= CURRENT ? "current" : "stale";
  }

  get isCurrent() {
    return this.condition === "current";
  }

  /** The end of durations: now if the value is current, otherwise its time. */
  get until() {
    return this.isCurrent || !this.at ? now() : this.at;
  }

  /**
   * Calls a listener now, at every read, and while the value ages.
   *
   * @param {(reading: Reading<T>) => void} listener
   */
  watch(listener) {
    if (!this.listeners.size) this.timer = window.setInterval(() => this.tick(), TICK);
    this.listeners.add(listener);
    listener(this);
    return () => {
      this.listeners.delete(listener);
      if (!this.listeners.size) clearInterval(this.timer);
    };
  }

  notify() {
    for (const listener of this.listeners) listener(this);
  }

  /** Notifies the listeners when the value has become a second older, or its condition has changed. */
  tick() {
    const print = `${this.condition} ${this.at && Math.round((now() - this.at) / 1000)}`;
    if (print === this.print) return;
    this.print = print;
    this.notify();
  }
}

/**
 * Shows the condition of a panel: sets an attribute for the style sheet, and writes the reason into a line of the
 * panel.
 *
 * @param {Element} panel
 * @param {Element} line
 * @param {Reading<any>} reading
 * @param {string} [caption] the text of the line while the reading is current
 */
export function showCondition(panel, line, reading, caption = "") {
  const { condition } = reading;
  set(panel, { "data-condition": condition });
  const text = describe(reading) || caption;
  setText(line, text);
  line.toggleAttribute("hidden", !text);
}

/**
 * Describes why a reading is not current; empty if it is.
 *
 * @param {Reading<any>} reading
 */
export function describe({ condition, problem, at }) {
  const why = problem ? `: ${problem}` : "";
  switch (condition) {
    case "loading":
      return "Loading …";
    case "failed":
      return `Unknown${why || "."}`;
    case "stale":
      return `Last known state, ${ago(new Date(at).toISOString())}${why || "."}`;
    default:
      return "";
  }
}
