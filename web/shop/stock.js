// Units available, reserved for orders, and backordered.

/** @import {Page, Product} from "../types.js" */

import { reason } from "../lib/api.js";
import { byId, el, keyed, setText } from "../lib/dom.js";
import { count } from "../lib/format.js";
import { Outcome } from "../lib/outcome.js";
import { poll } from "../lib/poll.js";
import { Reading, showCondition } from "../lib/reading.js";
import { readFrom } from "../model.js";
import { restock } from "../orders/placing.js";
import { change } from "./cells.js";

/** How many products are listed, and how many units one restock adds. */
const LISTED = 8;
const UNITS = 10;

/** @type {Reading<Page<Product>>} */
const products = new Reading(/** @type {Page<Product>} */ ({ items: [], next: null }));

export function mountStock() {
  const polling = poll(() => products.read(query), 1500);
  const outcome = new Outcome(byId("stock-outcome"));
  products.watch(({ value }) => {
    const empty = value.items.length ? "" : "No products.";
    showCondition(byId("stock"), byId("stock-condition"), products, empty);
    keyed(
      byId("stock-rows"),
      value.items,
      (product) => product.productId,
      (product) => row(product, outcome, polling),
      update,
    );
    byId("stock-more").hidden = !value.next;
    setText(byId("stock-more"), `The first ${LISTED}, by id.`);
  });
}

/** @returns {Promise<Page<Product>>} */
async function query() {
  /** @type {Page<Product> | null} */
  const page = await readFrom("inventory-service", `/products?limit=${LISTED}`);
  return page ?? { items: [], next: null };
}

/**
 * @param {Product} product
 * @param {Outcome} outcome
 * @param {{now: () => void}} polling
 */
function row({ productId }, outcome, polling) {
  const button = el(
    "button",
    { type: "button", class: "small", "aria-label": `Restock ${productId} with ${UNITS}` },
    `+${UNITS}`,
  );
  button.addEventListener("click", async () => {
    const setText = outcome.begin(`Restocking ${productId} …`);
    try {
      await restock(productId, UNITS);
      setText(false, `The command to restock ${productId} with ${UNITS} units is stored.`);
    } catch (error) {
      setText(true, `Restock of ${productId} not accepted: ${reason(error)}`);
    }
    polling.now();
  });
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, productId),
    ...["available", "reserved", "backordered"].map(() => el("td", { class: "number" })),
    el("td", {}, button),
  );
}

/**
 * @param {HTMLElement} element
 * @param {Product} product
 */
function update(element, product) {
  const cells = element.querySelectorAll("td");
  change(cells[0], count(product.available));
  change(cells[1], count(product.reserved));
  change(cells[2], count(product.backordered));
}
