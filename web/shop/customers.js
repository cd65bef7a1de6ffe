// The customers on the dashboard: those of the demo's initial data, and those of the newest orders.

import { orders } from "../model.js";
import { CUSTOMERS } from "../orders/placing.js";

/** The maximum number of customers. */
const MAX_SHOWN = 5;

export function customers() {
  return [...new Set([...CUSTOMERS, ...orders.value.map((order) => order.customerId)])].slice(0, MAX_SHOWN);
}
