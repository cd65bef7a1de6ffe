// The page of the shop. It keeps no truth of its own: everything it shows is what the gateway answers.
//
// `model.js` asks and remembers; `overview/`, `orders/`, `store/`, and the files beside this one show, each its own part;
// `lib/` knows no store.

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

/** How long to wait before the beginning is tried again, in milliseconds. */
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
