// Serves the page, opens it in Chromium, fills the form in as a user would, and prints what it shows at the end.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

import { chromium } from "playwright-core";

const [server, tasks, key = ""] = process.argv.slice(2);
const types = { "/index.html": "text/html", "/page.js": "text/javascript" };
const site = createServer(async ({ url = "" }, answer) => {
  const type = types[url];
  answer.writeHead(type ? 200 : 404, { "content-type": type ?? "text/plain" });
  answer.end(type && (await readFile(new URL(`./page${url}`, import.meta.url))));
});
await new Promise((resolve) => site.listen(0, "127.0.0.1", resolve));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
try {
  const page = await browser.newPage();
  page.on("console", (message) => console.error(message.text()));
  page.on("pageerror", (error) => console.error(error));
  await page.goto(`http://127.0.0.1:${site.address().port}/index.html`);
  for (const [name, value] of Object.entries({ server, tasks, key, "api-key": process.env.HASHMESH_API_KEY ?? "" })) {
    await page.fill(`[name=${name}]`, value);
  }
  await page.click("button");
  // As long as it takes: the page itself gives up after an outage that lasts too long.
  const summary = await page.waitForSelector("#summary.succeeded, #summary.failed", { timeout: 0 });
  const [text, end] = [await summary.textContent(), await summary.getAttribute("class")];
  if (end === "succeeded") console.log(text);
  else throw new Error(text ?? "");
} catch (error) {
  console.error(`submit: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
} finally {
  await browser.close();
  site.close();
}
