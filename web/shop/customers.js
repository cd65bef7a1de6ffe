// The customers that the page knows of: those the demo begins with, and those who order.

import { orders } from "../model.js";
import { CUSTOMERS } from "../orders/placing.js";

/** The most customers that are shown. */
const MAX_SHOWN = 5;

export function customers() {
  return [...new Set([...CUSTOMERS, ...orders.value.map((order) => order.customerId)])].slice(0, MAX_SHOWN);
}
