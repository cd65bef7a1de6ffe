// Cells that show when they change.

import { setText } from "../lib/dom.js";

/**
 * Changes a cell's text, and lights it up where it had another one.
 *
 * @param {Element | null | undefined} cell
 * @param {string} text
 */
export function change(cell, text) {
  if (!cell || cell.textContent === text) return;
  const had = cell.textContent !== "";
  setText(cell, text);
  if (!had) return;
  cell.classList.remove("changed");
  // Reading a size makes the browser notice that the class was gone, so that the light comes on again.
  void (/** @type {HTMLElement} */ (cell).offsetWidth);
  cell.classList.add("changed");
}
