// A status in one word, with its colour.

import { el } from "../lib/dom.js";

/**
 * @param {string} status
 * @param {string} [why]
 */
export function pill(status, why) {
  const text = status.replaceAll("-", " ");
  return el("span", { class: `pill ${status}`, title: why ? `${text}: ${why}` : null }, text);
}
