// What is on the shelves, held for orders, and waited for.

/** @import {Page, Product} from "../types.js" */

import { get, reason } from "../lib/api.js";
import { byId, el, keyed, say } from "../lib/dom.js";
import { count } from "../lib/format.js";
import { poll } from "../lib/poll.js";
import { restock } from "../orders/placing.js";
import { change } from "./cells.js";

/** How many products are listed, and how many pieces a restock brings. */
const LISTED = 8;
const PIECES = 10;

export function mountStock() {
  const looking = poll(async () => {
    /** @type {Page<Product>} */
    const page = await get(`/products?limit=${LISTED}`);
    keyed(
      byId("stock-rows"),
      page.items,
      (product) => product.productId,
      (product) => row(product, looking),
      update,
    );
    byId("stock-more").hidden = !page.next;
    say(byId("stock-more"), `The first ${LISTED}, by id.`);
  }, 1500);
}

/**
 * @param {Product} product
 * @param {{now: () => void}} looking
 */
function row({ productId }, looking) {
  const button = el(
    "button",
    { type: "button", class: "small", "aria-label": `Restock ${productId} with ${PIECES}` },
    `+${PIECES}`,
  );
  button.addEventListener("click", async () => {
    try {
      await restock(productId, PIECES);
      say(byId("stock-outcome"), `${PIECES} pieces of ${productId} are on their way.`);
    } catch (error) {
      say(byId("stock-outcome"), reason(error));
    }
    looking.now();
  });
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, productId),
    ...["available", "reserved", "awaiting"].map(() => el("td", { class: "number" })),
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
  change(cells[2], count(product.awaiting));
}
