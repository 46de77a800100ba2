// Which Chromium the browser's suites run, and how.

import { existsSync } from "node:fs";

const USUAL = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export const CHROMIUM = [process.env.CHROMIUM_BIN, ...USUAL].find((file) => file && existsSync(file));
if (!CHROMIUM) throw new Error("no Chromium: install the package chromium, or name one in CHROMIUM_BIN");

export const ARGUMENTS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--no-proxy-server", "--disable-dev-shm-usage",
];
