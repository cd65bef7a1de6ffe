// Tables: stock, accounts, payments, notifications, projections.

import { mountAccounts } from "./accounts.js";
import { mountNotifications } from "./notifications.js";
import { mountPayments } from "./payments.js";
import { mountProjections } from "./projections.js";
import { mountStock } from "./stock.js";

export function mountTables() {
  mountStock();
  mountAccounts();
  mountPayments();
  mountNotifications();
  mountProjections();
}
