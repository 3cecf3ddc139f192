// Opens the built book in Chromium, as a reader does.
//
// BOOK         the book [default: ../out]
// CHROMIUM     the browser [default: /usr/bin/chromium]
// SCREENSHOTS  a folder for a picture of every page, size and theme

import assert from "node:assert/strict";
import { mkdtemp, mkdir, readFile, readdir, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, normalize, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { after, before, describe, test } from "node:test";
import { chromium } from "playwright-core";
import { colours } from "./colours.js";

const here = import.meta.dirname;
const book = resolve(process.env.BOOK ?? join(here, "../out"));
const workspace = join(here, "../..");
const shots = process.env.SCREENSHOTS;

const SIZES = {
    phone: { width: 360, height: 740 },
    laptop: { width: 1280, height: 800 },
    projector: { width: 1920, height: 1080 },
};
const THEMES = ["light", "navy"];
const MIME = {
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
};
const PICTURE = "main .checkbox-label > img";
// The path of the book on the server, as on GitHub Pages.
const BASE = "/course/";

let server, browser, profile, root, pages, steps;

before(async () => {
    server = createServer(async (request, response) => {
        const path = decodeURIComponent(new URL(request.url, "http://x").pathname);
        // For a picture without a page, the browser also asks for this file.
        if (path === "/favicon.ico") {
            response.writeHead(204).end();
            return;
        }
        let file = path.startsWith(BASE) && join(book, normalize(path.slice(BASE.length - 1)));
        if (file && path.endsWith("/")) {
            file = join(file, "index.html");
        }
        const body = file && (await readFile(file).catch(() => null));
        response.writeHead(body ? 200 : 404, { "content-type": MIME[extname(file || "")] ?? "" });
        response.end(body || "not there");
    });
    await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
    root = `http://127.0.0.1:${server.address().port}${BASE}`;

    profile = await mkdtemp(join(tmpdir(), "book-test-"));
    browser = await chromium.launchPersistentContext(profile, {
        executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
        args: [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ],
        permissions: ["clipboard-read", "clipboard-write"],
    });

    const toc = await readFile(join(book, "toc.html"), "utf8");
    const linked = [...toc.matchAll(/href="([^"]+)"/g)].map((match) => match[1]);
    pages = linked.filter((link) => link.endsWith(".html"));
    steps = (await readdir(workspace)).filter((name) => /^step\d+-/.test(name)).sort();
    if (shots) {
        await mkdir(shots, { recursive: true });
    }
});

after(async () => {
    await browser?.close();
    server?.close();
    if (profile) {
        await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    }
});

/// Opens a tab with a size and a theme. The tab collects all errors.
async function tab(size = "laptop", theme = "light") {
    const page = await browser.newPage();
    await page.setViewportSize(SIZES[size]);
    await page.addInitScript((theme) => localStorage.setItem("mdbook-theme", theme), theme);
    const wrong = [];
    page.on("console", (message) => {
        if (["error", "warning"].includes(message.type())) {
            wrong.push(`console: ${message.text()}`);
        }
    });
    page.on("pageerror", (error) => wrong.push(`script: ${error.message}`));
    page.on("requestfailed", (request) => {
        const why = request.failure()?.errorText;
        // The browser stopped the request, because the tab opens the next page.
        if (why !== "net::ERR_ABORTED") {
            wrong.push(`${why}: ${request.url()}`);
        }
    });
    page.on("response", (response) => {
        if (response.status() >= 400) {
            wrong.push(`${response.status()}: ${response.url()}`);
        }
    });
    page.on("request", (request) => {
        if (!request.url().startsWith(root) && !request.url().startsWith("data:")) {
            wrong.push(`asks the network: ${request.url()}`);
        }
    });
    return { page, wrong };
}

/// Runs `check` on pages of the book, in a single tab.
async function onPages(names, size, theme, check) {
    const { page, wrong } = await tab(size, theme);
    const found = [];
    for (const name of names) {
        await page.goto(root + name);
        const told = await check(page, name);
        found.push(...[told ?? []].flat().map((line) => `${name}: ${line}`));
    }
    await page.close();
    assert.deepEqual([...found, ...wrong], []);
}

/// The pages with a program.
const programs = () => steps.map((step) => `${step}/program.html`);

/// The pages with a program that is compared with another program.
const diffs = () => programs().slice(1);

describe("every page", { concurrency: 2 }, () => {
    test("is in the table of contents", async () => {
        const made = (await readdir(book, { recursive: true }))
            .filter((name) => name.endsWith(".html"))
            .filter((name) => !["404.html", "print.html", "toc.html"].includes(name));
        assert.deepEqual([...pages].sort(), made.sort());
        const lessons = pages.filter((name) => /^step\d+-\w+\/index\.html$/.test(name));
        assert.deepEqual(lessons, steps.map((step) => `${step}/index.html`));
        assert.ok(programs().every((name) => pages.includes(name)));
    });

    test("loads without an error, and without the network", async () => {
        await onPages(pages, "laptop", "light", async (page) => {
            const heading = await page.locator("main h1").count();
            return heading === 1 ? [] : `${heading} first headings`;
        });
    });

    test("has no broken link or picture", async () => {
        const known = new Map();
        const ids = async (path) => {
            if (!known.has(path)) {
                const text = await readFile(join(book, path), "utf8").catch(() => null);
                const named = text?.matchAll(/ id="([^"]+)"/g) ?? [];
                known.set(path, text === null ? null : [...named].map((match) => match[1]));
            }
            return known.get(path);
        };
        let links = 0;
        await onPages(pages, "laptop", "light", async (page, name) => {
            const own = await ids(name);
            const found = own.filter((id, at) => own.indexOf(id) < at).map((id) => `#${id} twice`);
            const targets = await page.$$eval("a[href]", (all) => all.map((a) => a.href));
            for (const target of new Set(targets)) {
                const url = new URL(target);
                if (!target.startsWith(root)) {
                    if (url.protocol !== "https:") {
                        found.push(`leads to ${target}`);
                    }
                    continue;
                }
                links += 1;
                let path = decodeURIComponent(url.pathname.slice(BASE.length));
                path = path === "" || path.endsWith("/") ? `${path}index.html` : path;
                const inside = await ids(path);
                const id = decodeURIComponent(url.hash.slice(1));
                if (inside === null) {
                    found.push(`leads to ${path}, which is not there`);
                } else if (id && !inside.includes(id)) {
                    found.push(`leads to ${path}#${id}, which is not there`);
                }
            }
            const blank = await page.$$eval("main img, main svg", (all) => all
                .filter((it) => (it.naturalWidth ?? it.getBoundingClientRect().width) === 0)
                .map((it) => `an empty picture: ${it.outerHTML.slice(0, 80)}`));
            return [...found, ...blank];
        });
        assert.ok(links > 100, `${links} links`);
    });

    for (const size of Object.keys(SIZES)) {
        for (const theme of THEMES) {
            test(`fits a ${size}, ${theme}`, async () => {
                await onPages(pages, size, theme, async (page, name) => {
                    if (shots) {
                        const file = `${name.replaceAll("/", "-").replace(".html", "")}`;
                        await page.screenshot({
                            path: join(shots, `${file}-${size}-${theme}.png`),
                            fullPage: true,
                        });
                    }
                    return page.evaluate(() => {
                        // Content in an element that scrolls may be wide.
                        const scrolls = (element) => {
                            for (let at = element; !at.matches("main"); at = at.parentElement) {
                                if (getComputedStyle(at).overflowX !== "visible") {
                                    return true;
                                }
                            }
                            return false;
                        };
                        const wide = [...document.querySelectorAll("main *")]
                            .filter((it) => it.getBoundingClientRect().right > innerWidth + 1)
                            .filter((it) => !scrolls(it));
                        return wide.map((it) => `too wide: ${it.outerHTML.slice(0, 80)}`);
                    });
                });
            });
        }
    }
});

describe("a lesson", () => {
    test("has a link from its new code to the marked program", async () => {
        await onPages(steps.slice(1).map((step) => `${step}/index.html`), "laptop", "light",
            async (page, name) => {
                await page.locator("#the-new-code ~ p a[href='program.html']").first().click();
                await page.locator(".program ins").first().waitFor();
                return page.url().endsWith(name.replace("index", "program")) ? [] : page.url();
            });
    });
});

describe("contrast", { concurrency: 2 }, () => {
    for (const theme of ["light", "rust", "coal", "navy", "ayu"]) {
        test(`of what a lesson adds and takes out, ${theme}`, async () => {
            let seen = 0;
            await onPages(diffs(), "projector", theme, async (page) => {
                await page.evaluate(colours);
                const look = () => page.evaluate(() => {
                    // The lines, and their words that have a colour.
                    const words = [":is(ins, del)", ":is(ins, del) span"]
                        .flatMap((what) => [...document.querySelectorAll(`.program ${what}`)]);
                    const ratio = (word) => contrast(getComputedStyle(word).color, behind(word));
                    const faint = words.filter((word) => ratio(word) < 4.5)
                        .map((word) => `${ratio(word).toFixed(1)}: ${word.outerHTML.slice(0, 90)}`);
                    return [words.length, faint];
                });
                // The colours of the theme come shortly after the page.
                const settle = async () => {
                    const limit = Date.now() + 10_000;
                    let seen = await look();
                    while (seen[1].length > 0 && Date.now() < limit) {
                        seen = await look();
                    }
                    return seen;
                };
                let [count, faint] = await settle();
                if (faint.length > 0) {
                    // On a busy machine, a tab may load only half of a theme.
                    await page.reload();
                    await page.evaluate(colours);
                    [count, faint] = await settle();
                }
                seen += count;
                return faint;
            });
            assert.ok(seen > 50, `${seen} words`);
        });
    }

    for (const scheme of ["light", "dark"]) {
        test(`of the words in the pictures, ${scheme}`, async () => {
            const { page, wrong } = await tab();
            await page.emulateMedia({ colorScheme: scheme });
            const files = (await readdir(book, { recursive: true }))
                .filter((name) => name.startsWith("docs/") && name.endsWith(".svg"));
            assert.ok(files.length >= 5, files.join());
            for (const file of files) {
                await page.goto(root + file);
                await page.evaluate(colours);
                const faint = await page.evaluate(() => {
                    // The last drawn box below the middle of the word.
                    const ground = (word) => {
                        const { left, right, top, bottom } = word.getBoundingClientRect();
                        const [x, y] = [(left + right) / 2, (top + bottom) / 2];
                        const under = [...document.querySelectorAll("rect")].filter((box) => {
                            const area = box.getBoundingClientRect();
                            const inside = area.left < x && x < area.right
                                && area.top < y && y < area.bottom;
                            const before = box.compareDocumentPosition(word)
                                & Node.DOCUMENT_POSITION_FOLLOWING;
                            return inside && before && getComputedStyle(box).fill !== "none";
                        });
                        return under.length ? getComputedStyle(under.at(-1)).fill : "gray";
                    };
                    const ratio = (word) => contrast(getComputedStyle(word).fill, ground(word));
                    return [...document.querySelectorAll("text")]
                        .filter((word) => !word.closest(".faint") && ratio(word) < 4.5)
                        .map((word) => `${ratio(word).toFixed(1)}: ${word.textContent}`);
                });
                assert.deepEqual(faint, [], file);
            }
            assert.deepEqual(wrong, []);
            await page.close();
        });
    }
});

describe("the search", () => {
    for (const from of ["http", "file"]) {
        test(`finds "whiteout", over ${from}`, async () => {
            const { page } = await tab();
            const start = from === "http" ? root : pathToFileURL(`${book}/`).href;
            await page.goto(`${start}index.html`);
            await page.keyboard.press("s");
            await page.locator("#mdbook-searchbar").pressSequentially("whiteout");
            const first = page.locator("#mdbook-searchresults a").first();
            await first.waitFor();
            const found = await page.$$eval("#mdbook-searchresults a", (all) => all.map((a) => a.href));
            assert.ok(found.some((href) => href.includes("step08-overlay/")), found.join("\n"));
            await first.click();
            await page.locator("main mark", { hasText: /whiteout/i }).first().waitFor();
            await page.close();
        });
    }
});

/// The files of a step's program by their names, without the directories of its tests.
async function program(step) {
    const all = step ? await readdir(join(workspace, step, "src")) : [];
    const names = all.filter((name) => name.endsWith(".rs"));
    const read = async (name) => [name, await readFile(join(workspace, step, "src", name), "utf8")];
    return new Map(await Promise.all(names.sort().map(read)));
}

/// The files on the page of a step's program, in order: each with its text and the text
/// in the step before. A file that has not changed is not there, except main.rs.
async function shown(step) {
    const before = await program(steps[steps.indexOf(step) - 1]);
    const files = [...(await program(step))].map(([name, text]) => ({
        name,
        text,
        old: before.get(name) ?? "",
    }));
    const rank = ({ name, old }) => (name === "main.rs" ? 0 : old ? 1 : 2);
    return files.filter((file) => file.name === "main.rs" || file.old !== file.text)
        .sort((a, b) => rank(a) - rank(b));
}

describe("a program", () => {
    /// Runs `check` on the page of every program.
    async function onPrograms(size, check) {
        const { page, wrong } = await tab(size);
        for (const name of programs()) {
            await page.goto(root + name);
            await check(page, name);
        }
        assert.deepEqual(wrong, []);
        await page.close();
    }
    const code = ".program code";
    const line = `${code} > :is([data-line], del):not(.import)`;

    test("is complete, with new lines marked and removed lines struck through", async () => {
        await onPrograms("laptop", async (page, name) => {
            const files = await shown(name.split("/")[0]);
            const blocks = await page.locator(code).all();
            assert.equal(blocks.length, files.length, name);
            assert.equal(await page.locator("main pre").count(), files.length, name);
            let [added, removed] = [0, 0];
            for (const [at, block] of blocks.entries()) {
                const texts = (what) => block.locator(`> ${what}`).allTextContents();
                const { text, old } = files[at];
                assert.equal((await texts("[data-line]")).join(""), text, name);
                const before = (await texts(":is(span[data-line], del)")).join("");
                assert.equal(before, diffs().includes(name) ? old : text, name);
                added += (await texts("ins")).length;
                removed += (await texts("del")).length;
            }
            const titles = await page.locator("main h2").allTextContents();
            if (titles.length > 0) {
                assert.deepEqual(titles, files.map((file) => file.name), name);
            }
            if (diffs().includes(name)) {
                const said = await page.locator("main p").first().textContent();
                assert.match(said, new RegExp(`: ${added}\\. .*: ${removed}\\.`));
                assert.ok(added > 0, name);
            }
            for (const changed of await page.locator(`${code} > :is(ins, del):not(.import)`).all()) {
                assert.ok(await changed.isVisible(), name);
            }
            const struck = await page.$$eval(`${code} del, ${code} del span`, (all) => all
                .every((it) => getComputedStyle(it).textDecorationLine === "line-through"));
            assert.ok(struck, name);
        });
    });

    test("shows its imports after a click", async () => {
        const { page, wrong } = await tab();
        await page.goto(`${root}${steps.at(-1)}/program.html`);
        const imports = page.locator(`${code} > .import`);
        assert.ok((await imports.count()) > 5 && !(await imports.first().isVisible()));
        await page.locator(".program > label").first().click();
        assert.ok(await imports.first().isVisible());
        assert.match(await imports.first().textContent(), /^use std::/);
        assert.deepEqual(wrong, []);
        await page.close();
    });

    test("has a button that leads to each change, and back to the first", async () => {
        const { page, wrong } = await tab();
        for (const name of [programs()[0], programs().at(-1)]) {
            await page.goto(root + name);
            // The first lines of changes, as numbers among all lines.
            const first = await page.$$eval(line, (lines) => lines
                .map((it, at) => [it, at])
                .filter(([it]) => it.matches("ins, del"))
                .filter(([it]) => !it.previousElementSibling?.matches(":is(ins, del):not(.import)"))
                .map(([, at]) => at));
            const button = page.locator(".next-change");
            assert.equal(await button.count(), first.length > 0 ? 1 : 0, name);
            for (const at of first.length > 0 ? [...first, first[0]] : []) {
                await button.click();
                const { y, height } = await page.locator(line).nth(at).boundingBox();
                assert.ok(y >= 0 && y + height <= SIZES.laptop.height, `${name}: ${at} at ${y}`);
            }
        }
        assert.deepEqual(wrong, []);
        await page.close();
    });

    test("has colours, also in new lines", async () => {
        const seen = { "[data-line]": new Set(), ins: new Set() };
        await onPrograms("laptop", async (page) => {
            for (const [where, colours] of Object.entries(seen)) {
                const words = page.locator(`${code} > ${where} [class^=hljs]`);
                (await words.evaluateAll((all) => all.map((word) => getComputedStyle(word).color)))
                    .forEach((colour) => colours.add(colour));
            }
        });
        assert.ok(seen.ins.size >= 4, [...seen.ins].join());
        assert.deepEqual(seen.ins, seen["[data-line]"]);
    });

    for (const [size, least] of [["laptop", 13], ["projector", 20]]) {
        test(`wraps and hides no line on a ${size}, beside the table of contents`, async () => {
            await onPrograms(size, async (page, name) => {
                const contents = await page.locator("#mdbook-sidebar").boundingBox();
                assert.ok(contents.x === 0 && contents.width > 100, name);
                const looks = await page.$$eval(code, (blocks) => blocks.map((code) => {
                    const all = [...code.querySelectorAll(":scope > :is([data-line], del)")];
                    const lines = all.filter((line) => !line.matches(".import"));
                    // The longest line that rustfmt allows.
                    lines[0].textContent = `${"x".repeat(100)}\n`;
                    return [
                        parseFloat(getComputedStyle(code).fontSize),
                        lines.map((line) => Math.round(line.getBoundingClientRect().height)),
                        code.scrollWidth - code.clientWidth,
                    ];
                }));
                for (const [font, heights, hidden] of looks) {
                    assert.ok(font >= least, `${name}: ${font} pixels`);
                    assert.equal(new Set(heights).size, 1, `${name}: ${heights}`);
                    assert.equal(hidden, 0, name);
                }
            });
        });
    }

    test("is one column on a phone, marked over its whole width", async () => {
        await onPrograms("phone", async (page, name) => {
            const lines = await page.$$eval(line, (all) =>
                all.map((line) => [line.offsetLeft, line.offsetWidth, line.parentElement.scrollWidth]));
            for (const [left, width, whole] of lines) {
                assert.deepEqual([left, width], [0, whole], name);
            }
        });
    });
});

describe("an element that is too wide for a phone", () => {
    test("fades out on its hidden side", async () => {
        let seen = { table: 0, code: 0 };
        await onPages(pages, "phone", "light", async (page) => {
            // The page learns of a new size and of scrolling in the next frame.
            const frame = () => page.evaluate(() => new Promise((drawn) =>
                requestAnimationFrame(() => requestAnimationFrame(drawn))));
            await frame();
            const state = () => page.$$eval("main *", (all) => all
                .filter((it) => ["auto", "scroll"].includes(getComputedStyle(it).overflowX))
                .filter((it) => it.scrollWidth > it.clientWidth + 1)
                .map((it) => {
                    it.scrollLeft = it.scrollLeft ? 0 : it.scrollWidth;
                    const fades = getComputedStyle(it).maskImage !== "none";
                    const ends = ["before", "after"].filter((end) => it.matches(`.more-${end}`));
                    return [it.matches("code") ? "code" : "table", fades, ends.join(), it.outerHTML];
                }));
            const start = await state();
            await frame();
            const end = await state();
            start.forEach(([what]) => seen[what] += 1);
            const told = (ends) => ([, fades, said]) => !fades || said !== ends;
            return [...start.filter(told("after")), ...end.filter(told("before"))]
                .map(([, , said, html]) => `"${said}": ${html.slice(0, 80)}`);
        });
        assert.ok(seen.table > 5 && seen.code > 5, JSON.stringify(seen));
    });

    test("does not fade out if everything is visible", async () => {
        await onPages(pages, "projector", "light", (page) =>
            page.$$eval("main :is(.more-before, .more-after)", (all) => all
                .filter((it) => it.scrollWidth <= it.clientWidth)
                .map((it) => it.outerHTML.slice(0, 80))));
    });
});

describe("code can be copied", () => {
    async function copied(name, block) {
        const { page, wrong } = await tab();
        await page.goto(root + name);
        const pre = page.locator("main pre", { has: page.locator(block) }).first();
        await pre.hover();
        await pre.locator(".clip-button").click();
        await page.locator(".clip-button.tooltipped").waitFor();
        const text = await page.evaluate(() => navigator.clipboard.readText());
        await page.close();
        assert.deepEqual(wrong, []);
        return text;
    }

    test("a program without its removed lines", async () => {
        const source = await readFile(join(workspace, "step08-overlay/src/main.rs"), "utf8");
        const text = await copied("step08-overlay/program.html", "del");
        assert.equal(text, source);
    });

    test("only the commands of a console block", async () => {
        const text = await copied("step01-run/index.html", "code.language-console");
        assert.equal(text, "cargo run -q -p step01-run -- echo hello-world");
    });
});

describe("a theme", () => {
    test("is the reader's choice, and stays", async () => {
        const page = await browser.newPage();
        await page.emulateMedia({ colorScheme: "dark" });
        await page.goto(root);
        await page.evaluate(() => localStorage.clear());
        await page.goto(`${root}step08-overlay/index.html`);
        // The brightness of the picture's background.
        const ground = async () => {
            const png = await page.locator(PICTURE).first().screenshot();
            return page.evaluate(async (url) => {
                const image = new Image();
                image.src = url;
                await image.decode();
                const canvas = document.createElement("canvas").getContext("2d");
                canvas.drawImage(image, -12, -12);
                return canvas.getImageData(0, 0, 1, 1).data[0];
            }, `data:image/png;base64,${png.toString("base64")}`);
        };
        assert.ok((await ground()) < 64, "a dark picture on a dark page");
        await page.locator("#mdbook-theme-toggle").click();
        await page.locator("#mdbook-theme-light").click();
        assert.ok((await ground()) > 192, "a light picture on a light page");
        await page.reload();
        assert.ok((await ground()) > 192, "the choice stays");
        await page.close();
    });
});

describe("a picture", () => {
    test("fills the screen after a click, and closes after another click", async () => {
        const { page, wrong } = await tab("projector");
        await page.goto(`${root}step08-overlay/index.html`);
        await page.locator(PICTURE).first().click();
        const large = page.locator("main .img-wrapper > img").first();
        assert.ok((await large.boundingBox()).width > 1800);
        await large.click();
        assert.ok(!(await large.isVisible()));
        assert.deepEqual(wrong, []);
        await page.close();
    });

    test("scrolls on a phone, and stays large enough to read", async () => {
        const { page } = await tab("phone");
        await page.goto(`${root}step08-overlay/index.html`);
        assert.ok((await page.locator(PICTURE).first().boundingBox()).width >= 600);
        await page.close();
    });
});

describe("slides", () => {
    const dialog = "dialog.slide";
    const number = (page) => page.locator(`${dialog} nav`).textContent();

    for (const from of ["http", "file"]) {
        test(`go on and back by the keys of a presenter, from page to page, over ${from}`, async () => {
            const { page, wrong } = await tab();
            const start = from === "http" ? root : pathToFileURL(`${book}/`).href;
            const name = `${steps[4]}/program.html`;
            await page.goto(start + name);
            await page.locator("button.slides").click();
            const count = Number((await number(page)).match(/1 of (\d+)/)[1]);
            assert.ok(count > 2, `${count}`);
            const at = async (expected, where = name) => {
                await page.waitForURL((url) => url.pathname.endsWith(where));
                await page.locator(`${dialog} nav`, { hasText: `${expected} of ` }).waitFor();
            };
            const pairs = [["PageDown", "PageUp"], ["ArrowRight", "ArrowLeft"],
                ["ArrowDown", "ArrowUp"], ["Space", "Shift+Space"]];
            for (const [next, back] of pairs) {
                await page.keyboard.press(next);
                await at(2);
                await page.keyboard.press(back);
                await at(1);
            }
            await page.keyboard.press("PageUp");
            await page.waitForURL((url) => url.pathname.endsWith(`${steps[4]}/index.html`));
            await page.keyboard.press("PageDown");
            await at(1);
            for (let slide = 2; slide <= count; slide += 1) {
                await page.keyboard.press("PageDown");
                await at(slide);
            }
            await page.keyboard.press("PageDown");
            await at(1, `${steps[5]}/index.html`);
            await page.reload();
            await at(1, `${steps[5]}/index.html`);
            await page.keyboard.press("Escape");
            await page.locator(dialog).waitFor({ state: "hidden" });
            // The keys turn the pages again.
            await page.keyboard.press("ArrowRight");
            await page.waitForURL((url) => url.pathname.endsWith(`${steps[5]}/program.html`));
            assert.equal(await page.locator(dialog).count(), 0);
            assert.deepEqual(from === "http" ? wrong : [], []);
            await page.close();
        });
    }

    test("begin where the reader is, and end there", async () => {
        const { page, wrong } = await tab();
        await page.goto(`${root}${steps.at(-1)}/program.html`);
        await page.locator("main h2").nth(3).evaluate((it) => it.scrollIntoView());
        const file = await page.locator("main h2").nth(3).textContent();
        await page.locator("button.slides").click();
        assert.equal(await page.locator(`${dialog} h2`).textContent(), file);
        await page.locator(`${dialog} .close`).click();
        await page.locator(dialog).waitFor({ state: "hidden" });
        const { y } = await page.locator("main h2").nth(3).boundingBox();
        assert.ok(Math.abs(y) < SIZES.laptop.height, `${y}`);
        assert.deepEqual(wrong, []);
        await page.close();
    });

    test("have a button on each page with a program or a picture", async () => {
        let buttons = 0;
        await onPages(pages, "laptop", "light", async (page, name) => {
            const shows = await page.locator(`${PICTURE}, .program`).count();
            const count = await page.locator("button.slides").count();
            buttons += count;
            return count === (shows > 0 ? 1 : 0) ? [] : `${count} buttons for ${shows}`;
        });
        assert.ok(buttons > steps.length, `${buttons}`);
    });

    /// Runs in a tab: turns all slides, and tells what is wrong with them, and the changes
    /// and pictures on them and on the page.
    async function turn(least) {
        // A program that is compared with no other is new as a whole.
        const lines = document.querySelector("main :is(ins, del)") ? ":is(ins, del)" : "span";
        const things = (image) => [...document.querySelectorAll(
            `${image}, ${image.split(" ")[0]} .program code > ${lines}:not(.import)`)]
            .map((it) => it.src ?? it.textContent)
            .filter((it) => it.trim() !== "");
        const wrong = [];
        const shown = [];
        let at = 0;
        for (let count = 1; at < count;) {
            at += 1;
            if (location.hash !== `#slide-${at}`) {
                await new Promise((turned) => {
                    addEventListener("hashchange", turned, { once: true });
                    location.replace(`#slide-${at}`);
                });
            }
            const dialog = document.querySelector("dialog.slide");
            const images = [...dialog.querySelectorAll("img")];
            await Promise.all(images.map((image) => image.decode()));
            count = Number(dialog.querySelector("nav").textContent.match(/ of (\d+)/)[1]);
            shown.push(...things("dialog img"));
            const tell = (what, it) => wrong.push(`slide ${at} ${what}: ${it.outerHTML.slice(0, 80)}`);
            for (const [x, y] of [[0, 0], [innerWidth - 1, innerHeight - 1]]) {
                const top = document.elementFromPoint(x, y);
                if (!dialog.contains(top)) {
                    tell("is behind", top);
                }
            }
            for (const it of [dialog, ...dialog.querySelectorAll(":scope > div, pre, code, img")]) {
                if (it.scrollHeight > it.clientHeight + 1 || it.scrollWidth > it.clientWidth + 1) {
                    tell("cuts off", it);
                }
            }
            for (const it of dialog.querySelectorAll(":scope > div *")) {
                if (parseFloat(getComputedStyle(it).fontSize) < least) {
                    tell("has small letters", it);
                }
            }
        }
        return [wrong, shown, things("main .checkbox-label > img"), at];
    }

    test("show each change and picture whole, in large letters, on each screen", async () => {
        // A small projector has the shape of an old screen.
        const screens = [[1024, 768, 14], [1280, 800, 18], [1920, 1080, 26]];
        let slides = 0;
        await onPages(pages, "laptop", "light", async (page, name) => {
            const found = [];
            for (const [width, height, least] of screens) {
                await page.setViewportSize({ width, height });
                const [wrong, shown, all, count] = await page.evaluate(turn, least);
                assert.deepEqual(shown, all, name);
                found.push(...wrong.map((line) => `${width}x${height}: ${line}`));
                slides += count;
            }
            return found;
        });
        assert.ok(slides > 9 * pages.length, `${slides} slides`);
    });
});

describe("on paper", () => {
    test("a page is light, and has no buttons", async () => {
        const { page } = await tab("laptop", "navy");
        await page.goto(`${root}step08-overlay/program.html`);
        await page.evaluate(colours);
        await page.emulateMedia({ media: "print" });
        await page.waitForFunction(() => document.documentElement.classList.contains("light"));
        for (const part of ["#mdbook-sidebar", "#mdbook-menu-bar", ".nav-chapters"]) {
            assert.ok(!(await page.locator(part).first().isVisible()), part);
        }
        const ratio = await page.evaluate(() =>
            contrast(getComputedStyle(document.querySelector("main p")).color, "white"));
        assert.ok(ratio > 7, `${ratio}`);
        assert.ok(await page.locator(".program ins").first().isVisible());
        await page.emulateMedia({ media: "screen" });
        await page.waitForFunction(() => document.documentElement.classList.contains("navy"));
        await page.close();
    });

    test("the whole book prints, and nothing is cut off", async () => {
        const { page, wrong } = await tab();
        // The page prints itself after it loads. A second print at the same time is
        // an error.
        await page.addInitScript(() => {
            window.print = () => {};
        });
        await page.goto(`${root}print.html`);
        // A4 without margins, at 96 pixels per inch.
        await page.setViewportSize({ width: 720, height: 1040 });
        await page.emulateMedia({ media: "print" });
        const cut = await page.$$eval("main *", (all) => all
            .filter((it) => getComputedStyle(it).overflowX !== "visible")
            .filter((it) => it.scrollWidth > it.clientWidth + 1 && it.clientWidth > 1)
            .map((it) => it.outerHTML.slice(0, 80)));
        assert.deepEqual(cut, []);
        // A program that may not break would leave an empty page before it.
        const whole = await page.$$eval(".program, .program :is(pre, code)", (all) => all
            .filter((it) => getComputedStyle(it).breakInside !== "auto"
                || getComputedStyle(it).containerType !== "normal")
            .map((it) => it.outerHTML.slice(0, 80)));
        assert.deepEqual(whole, []);
        const headings = await page.locator("main h1").count();
        assert.equal(headings, pages.length);
        const pdf = await page.pdf({ format: "A4", path: shots && join(shots, "book.pdf") });
        const sheets = pdf.toString("latin1").match(/\/Type\s*\/Page\b/g) ?? [];
        assert.ok(sheets.length >= pages.length, `${sheets.length} sheets`);
        assert.deepEqual(wrong, []);
        await page.close();
    });
});
