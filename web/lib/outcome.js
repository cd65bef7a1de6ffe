// What came of an action, said about what it belongs to, and never about anything else.

import { fill } from "./dom.js";

/** @import {Child} from "./dom.js" */

/** A line for outcomes. A late answer of an earlier action never replaces that of a later one. */
export class Outcome {
  /** @param {HTMLElement} line */
  constructor(line) {
    this.line = line;
    this.newest = 0;
  }

  /**
   * Begins an action. Returns what says how it goes, for as long as no other has begun and nothing was cleared.
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

  /** Says nothing: what the line was about is not shown any more. */
  clear() {
    this.begin();
  }
}
