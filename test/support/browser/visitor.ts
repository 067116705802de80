import { type Browser, chromium, type Page } from 'playwright-core';

/** What one load of the page was made of: the version that each part says it is of. */
interface View {
  page: string;
  style: string;
  script: string;
  logo: string;
  /** page views that the session knows of */
  visits: number;
}

/** A person with a browser who looks at the page all the time. */
export interface Visitor {
  readonly views: readonly View[];
  /** requests that failed, or were answered with an error */
  readonly failures: readonly string[];
  /** Lets the last load finish and closes the browser. */
  leave(): Promise<void>;
}

/** Debian's names for it; `CHROMIUM` names another. */
const PROGRAMS = ['/usr/bin/chromium-headless-shell', '/usr/bin/chromium'];

export async function openVisitor(url: string): Promise<Visitor> {
  const browser = await launch();
  const page = await (await browser.newContext()).newPage();
  const views: View[] = [];
  const failures: string[] = [];
  page.on('requestfailed', (request) => failures.push(`${request.url()}: ${request.failure()?.errorText}`));
  page.on('response', (response) => {
    if (response.status() >= 400) failures.push(`${response.url()}: ${response.status()}`);
  });
  let leaving = false;
  const looking = (async () => {
    while (!leaving) {
      await (views.length === 0 ? page.goto(url) : page.reload());
      views.push(await view(page));
    }
  })();
  looking.catch(() => {});
  return {
    views,
    failures,
    async leave() {
      leaving = true;
      try {
        await looking;
      } finally {
        await browser.close();
      }
    },
  };
}

async function launch(): Promise<Browser> {
  const errors: string[] = [];
  for (const executablePath of process.env.CHROMIUM ? [process.env.CHROMIUM] : PROGRAMS) {
    try {
      return await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
    } catch (error) {
      errors.push((error as Error).message.split('\n')[0] ?? '');
    }
  }
  throw new Error(`no Chromium could be started (bin/setup installs one): ${errors.join('; ')}`);
}

/** Once all of it is loaded. */
function view(page: Page): Promise<View> {
  // It runs in the page: as a text, for this project's types know of no page.
  return page.evaluate(`(() => {
    const root = document.documentElement;
    return {
      page: root.dataset.version,
      style: getComputedStyle(root).getPropertyValue('--version').trim(),
      script: root.dataset.script,
      logo: (document.images[0].naturalWidth / 10).toFixed(1),
      visits: Number(root.dataset.visits),
    };
  })()`);
}
