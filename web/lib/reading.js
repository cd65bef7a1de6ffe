// What the page has read, and how old that is. One rule for all panels: what is older than `CURRENT` is not shown as the
// present, and what was never read is not shown as empty.

import { now } from "./clock.js";
import { setText, set } from "./dom.js";
import { ago } from "./format.js";

/** How old an answer may be and still describe the present, in milliseconds. */
export const CURRENT = 3000;
/** How often ages are looked at, in milliseconds. */
const TICK = 500;

/** @typedef {"loading" | "current" | "stale" | "failed"} Condition */

/**
 * The newest answer to a question, when it was true, and why there is no newer one.
 *
 * @template T
 */
export class Reading {
  /** @param {T} initial what to work with before the first answer */
  constructor(initial) {
    this.initial = initial;
    this.value = initial;
    /** When the value was true, by the gateway's clock; 0 before the first answer. */
    this.at = 0;
    /** Why the newest attempt failed; empty if it did not. */
    this.problem = "";
    /** @type {Set<(reading: Reading<T>) => void>} */
    this.listeners = new Set();
    this.timer = 0;
    this.print = "";
  }

  /**
   * @param {T} value
   * @param {number} [at] when it was true, by the gateway's clock
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

  /** Forgets everything: the question is another one. */
  reset() {
    this.value = this.initial;
    this.at = 0;
    this.problem = "";
    this.notify();
  }

  /**
   * Asks, and keeps the answer or the reason why there is none.
   *
   * @param {() => Promise<T>} question
   */
  async read(question) {
    try {
      this.got(await question());
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

  /** The time up to which durations may be counted: the present, or when the value was true. */
  get until() {
    return this.isCurrent || !this.at ? now() : this.at;
  }

  /**
   * Calls a listener now, at every answer, and while the value ages.
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

  /** Tells the listeners when the value has become a second older, or has another condition. */
  tick() {
    const print = `${this.condition} ${this.at && Math.round((now() - this.at) / 1000)}`;
    if (print === this.print) return;
    this.print = print;
    this.notify();
  }
}

/**
 * Says in which condition a panel is: marks it, so that the style sheet turns it grey, and writes why into a line of it.
 *
 * @param {Element} panel
 * @param {Element} line
 * @param {Reading<any>} reading
 * @param {string} [caption] what the line says while the reading is current
 */
export function showCondition(panel, line, reading, caption = "") {
  const { condition } = reading;
  set(panel, { "data-condition": condition });
  const text = describe(reading) || caption;
  setText(line, text);
  line.toggleAttribute("hidden", !text);
}

/**
 * Says why a reading is not the present; empty if it is.
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
