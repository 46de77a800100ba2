// What each transport costs so far, side by side. Used by the page alone.

import { bytes, duration, element, SHORT_TITLES, TITLES } from "./words.js";

/** A row: its name, how to read a meter, and whether it belongs to the row above. */
const ROWS = [
  ["In use", (meter) => (meter.ms > 0 ? duration(meter.ms) : undefined)],
  ["Requests", (meter) => meter.requests],
  ["Handshakes", (meter) => meter.handshakes],
  ["Up", (meter) => meter.up && bytes(meter.up)],
  ["headers ≈", (meter) => meter.headersUp && bytes(meter.headersUp), "part"],
  ["Down", (meter) => meter.down && bytes(meter.down)],
  ["headers ≈", (meter) => meter.headersDown && bytes(meter.headersDown), "part"],
  ["Messages", (meter) => meter.publications],
  ["Per message", (meter) => meter.publications && bytes((meter.up + meter.down) / meter.publications)],
];

export class Panel {
  #costs;
  #columns = new Map();

  constructor(table, costs, transports) {
    this.#costs = costs;
    const [head, body] = [table.tHead.insertRow(), table.tBodies[0]];
    head.append(element("td"), ...transports.map(heading));
    const bars = body.insertRow();
    bars.className = "bars";
    bars.setAttribute("aria-hidden", "true");
    bars.append(element("td"));
    for (const transport of transports) this.#columns.set(transport, { cells: [], ...bar(bars) });
    for (const [name, , kind] of ROWS) this.#addRow(body.insertRow(), name, kind);
  }

  /** Shows what has been counted, with the column of this transport marked. */
  show(current) {
    const most = Math.max(1, ...[...this.#columns.keys()].map((transport) => this.#costs.of(transport)).map(({ up, down }) => up + down));
    for (const [transport, { cells, bodies, headers, cell }] of this.#columns) {
      const meter = this.#costs.of(transport);
      bodies.style.height = `${(100 * (meter.bodyUp + meter.bodyDown)) / most}%`;
      headers.style.height = `${(100 * (meter.headersUp + meter.headersDown)) / most}%`;
      for (const one of [cell, ...cells]) one.classList.toggle("current", transport === current);
      ROWS.forEach(([, read], index) => setText(cells[index], read(meter) || "–"));
    }
  }

  #addRow(row, name, kind) {
    if (kind) row.className = kind;
    const head = element("th", "", name);
    head.scope = "row";
    row.append(head);
    for (const [transport, { cells }] of this.#columns) {
      const cell = row.insertCell();
      cell.dataset.transport = transport;
      cells.push(cell);
    }
  }
}

function heading(transport) {
  const head = element("th");
  head.scope = "col";
  const short = element("span", "short", SHORT_TITLES[transport]);
  short.setAttribute("aria-hidden", "true");
  head.append(element("span", "long", TITLES[transport]), short);
  return head;
}

function bar(row) {
  const [cell, stack] = [row.insertCell(), element("div", "stack")];
  const [headers, bodies] = [element("div", "headers"), element("div", "body")];
  stack.append(headers, bodies);
  cell.append(stack);
  return { cell, bodies, headers };
}

/** What has not changed is left alone, so that a selection in the table holds. */
function setText(cell, text) {
  if (cell.textContent !== String(text)) cell.textContent = text;
}
