// Four tables: stock, accounts, payments, notifications.

import { mountAccounts } from "./accounts.js";
import { mountNotifications } from "./notifications.js";
import { mountPayments } from "./payments.js";
import { mountStock } from "./stock.js";

export function mountTables() {
  mountStock();
  mountAccounts();
  mountPayments();
  mountNotifications();
}
