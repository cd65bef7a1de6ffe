// The dashboard of the shop. It has no state of its own: it shows what the gateway returns.
//
// `model.js` reads and stores; `overview/`, `orders/`, `shop/`, and the files next to this one show one part each;
// `lib/` is independent of the shop.

import { mountBreakIt } from "./breakit.js";
import { mountCharts } from "./charts.js";
import { mountOverview } from "./overview/panel.js";
import { mountGuide } from "./guide.js";
import { mountInvariants } from "./invariants.js";
import { byId } from "./lib/dom.js";
import { start } from "./model.js";
import { mountDetail } from "./orders/detail.js";
import { mountList } from "./orders/list.js";
import { mountMessage } from "./orders/message.js";
import { mountPlacing } from "./orders/place.js";
import { mountStatus } from "./status.js";
import { mountTables } from "./shop/tables.js";

/** How long to wait before the first read is retried, in milliseconds. */
const AGAIN = 2000;

async function begin() {
  try {
    await start();
  } catch {
    byId("banner").hidden = false;
    setTimeout(begin, AGAIN);
    return;
  }
  mountStatus();
  mountOverview();
  mountInvariants();
  mountPlacing();
  mountList();
  mountDetail();
  mountMessage();
  mountBreakIt();
  mountTables();
  mountCharts();
  mountGuide();
}

void begin();
