// The outcome of an action, shown next to its subject only.

import { fill } from "./dom.js";

/** @import {Child} from "./dom.js" */

/** A line for outcomes. A late outcome of an earlier action never replaces that of a later one. */
export class Outcome {
  /** @param {HTMLElement} line */
  constructor(line) {
    this.line = line;
    this.newest = 0;
  }

  /**
   * Begins an action. Returns a function that shows its progress, until another action begins or the line is cleared.
   *
   * @param {...Child} doing
   * @returns {(bad: boolean, ...content: Child[]) => void}
   */
  begin(...doing) {
    const mine = (this.newest += 1);
    const setText = (/** @type {boolean} */ bad, /** @type {Child[]} */ ...content) => {
      if (mine !== this.newest) return;
      this.line.classList.toggle("bad", bad);
      fill(this.line, ...content);
    };
    setText(false, ...doing);
    return setText;
  }

  /** Clears the line: its subject is no longer shown. */
  clear() {
    this.begin();
  }
}
