// Table cells that highlight changes.

import { setText } from "../lib/dom.js";

/**
 * Changes a cell's text, and highlights it if it had another one.
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
  // Reading a size forces a layout, so that the animation restarts.
  void (/** @type {HTMLElement} */ (cell).offsetWidth);
  cell.classList.add("changed");
}
