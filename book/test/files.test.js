// Makes the EPUB and the PDF, and reads them as a device does.
//
// CHROMIUM     the browser that prints
// SCREENSHOTS  a folder that keeps the files

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, mkdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { EpubCheck } from "@likecoin/epubcheck-ts";

const workspace = join(import.meta.dirname, "../..");
const run = promisify(execFile);

let dir;

before(async () => {
    dir = process.env.SCREENSHOTS ?? (await mkdtemp(join(tmpdir(), "book-files-")));
    await mkdir(dir, { recursive: true });
});

after(async () => {
    if (dir && !process.env.SCREENSHOTS) {
        await rm(dir, { recursive: true, force: true });
    }
});

async function made(kind) {
    const file = join(dir, `book.${kind}`);
    const { stdout } = await run("cargo", ["xtask", "book", `--${kind}`, file], { cwd: workspace });
    const [, pages] = stdout.match(/: (\d+) pages/);
    return { bytes: await readFile(file), pages: Number(pages) };
}

test("the EPUB is valid", async () => {
    const { bytes, pages } = await made("epub");
    const { messages } = await EpubCheck.validate(new Uint8Array(bytes));
    const wrong = messages.filter(({ severity }) => ["fatal", "error", "warning"].includes(severity));
    assert.deepEqual(wrong, []);
    assert.ok(pages > 20, `${pages} pages`);
});

test("the PDF has an outline, and no link to a file of the machine that made it", async () => {
    const { bytes, pages } = await made("pdf");
    const text = bytes.toString("latin1");
    assert.match(text, /^%PDF-/);
    const sheets = text.match(/\/Type\s*\/Page\b/g) ?? [];
    assert.ok(sheets.length >= pages, `${sheets.length} sheets`);
    assert.match(text, /\/Outlines /);
    const led = [...text.matchAll(/\/URI \(([^)]*)/g)].map((match) => match[1]);
    assert.ok(led.length > 50, `${led.length} links`);
    assert.deepEqual(led.filter((link) => !link.startsWith("https://")), []);
});
