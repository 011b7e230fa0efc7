// Opens one study in OHIF and takes pictures of it. Told by one JSON argument; tells by JSON.
//
// asked: {playwright, chromium, origin, study, folder, slices, instance, open}
//   instance  the slice to look at, by Instance Number, before and after
//   open      how a line of a thumbnail begins that is opened by a double click: "SEG", "SR", ...
// told: {before, after, box, errors, text, rows, warned, opened_at}
//   warned    the rows with a sign that the viewer cannot show what they stand for
//   opened_at the slice that opening it turned to
import { pathToFileURL } from 'node:url';

const asked = JSON.parse(process.argv[2]);
const { chromium } = await import(pathToFileURL(asked.playwright).href);
const PAGE_MS = 240_000;
const STEP_MS = 90_000;

const told = { errors: [], text: '', rows: [] };
const browser = await chromium.launch({
  executablePath: asked.chromium,
  args: [
    '--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--use-gl=angle', '--use-angle=swiftshader',
    '--enable-unsafe-swiftshader',
  ],
});
try {
  const context = await browser.newContext({
    viewport: { width: 1400, height: 900 },
    serviceWorkers: 'block',
  });
  const page = await context.newPage();
  page.setDefaultTimeout(STEP_MS);
  page.on('pageerror', (error) => told.errors.push(`page: ${error.message}`));
  page.on('console', (line) => {
    if (line.type() === 'error') told.errors.push(`console: ${line.text()}`);
  });
  page.on('response', (response) => {
    if (response.status() >= 400) told.errors.push(`${response.status()}: ${response.url()}`);
  });

  await page.goto(`${asked.origin}/viewer?StudyInstanceUIDs=${asked.study}`, { timeout: PAGE_MS });
  await placeSays(page, `/${asked.slices})`);
  await page.locator('[data-cy=panelSegmentation-btn]').click(); // it changes the zoom: before all
  await settled(page);
  const rows = page.locator('[data-cy^=study-browser-thumbnail]');
  told.rows = await rows.allInnerTexts();
  told.warned = await rows.filter({ has: page.locator('[id=status-warning]') }).allInnerTexts();

  if (asked.instance) await turnTo(page, asked.instance);
  told.before = await picture(page, 'before');
  if (asked.open) {
    const meant = (text) => text.split('\n').some((line) => line.startsWith(asked.open));
    const place = told.rows.findIndex(meant);
    if (place < 0) throw new Error(`no series whose description begins with ${asked.open}`);
    await rows.nth(place).dblclick();
    await settled(page);
    told.opened_at = await shown(page);
    if (asked.instance) await turnTo(page, asked.instance);
  }
  told.after = await picture(page, 'after');
  told.text = await page.locator('body').innerText();
  const canvas = page.locator('.cornerstone-canvas, canvas').first();
  told.box = await canvas.boundingBox({ timeout: 5_000 }).catch(() => null);
} catch (error) {
  told.errors.push(`driver: ${error.message}`);
} finally {
  await browser.close();
}
console.log(JSON.stringify(told));

async function placeSays(page, text) {
  await page.getByText(text).first().waitFor({ timeout: PAGE_MS });
}

// The number of the instance that is shown: "I:12 (21/32)" stands in a corner.
async function shown(page) {
  const text = await page.locator('body').innerText();
  const found = text.match(/I:\s*(\d+)\s*\((\d+)\/(\d+)\)/);
  return found ? Number(found[1]) : null;
}

async function turnTo(page, instance) {
  const canvas = await page.locator('.cornerstone-canvas, canvas').first().boundingBox();
  await page.mouse.move(canvas.x + canvas.width / 2, canvas.y + canvas.height / 2);
  let step = 100;
  for (let tries = 0; tries < 4 * asked.slices; tries++) {
    const now = await shown(page);
    if (now === instance) return settled(page);
    await page.mouse.wheel(0, step);
    const then = await shownAfter(page, now);
    if (Math.abs(then - instance) > Math.abs(now - instance)) step = -step;
  }
  throw new Error(`instance ${instance} is not to be reached; ${await shown(page)} is shown`);
}

// The same, when it is another one; a busy machine takes its time.
async function shownAfter(page, before) {
  for (let tries = 0; tries < 50; tries++) {
    await page.waitForTimeout(100);
    const now = await shown(page);
    if (now !== null && now !== before) return now;
  }
  return before;
}

// Nothing loads any more and two pictures in a row are the same.
async function settled(page) {
  await page.waitForLoadState('networkidle').catch(() => {});
  let last = null;
  for (let tries = 0; tries < 60; tries++) {
    const now = (await page.screenshot()).toString('base64');
    if (now === last) return;
    last = now;
    await page.waitForTimeout(500);
  }
}

async function picture(page, name) {
  await page.mouse.move(5, 895); // no tooltip, no cursor in the picture
  await settled(page);
  const path = `${asked.folder}/${name}.png`;
  await page.screenshot({ path });
  return path;
}
