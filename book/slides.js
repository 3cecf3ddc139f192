// The book on a projector: one change of a program, or one picture, fills the screen.
//
// The address names the slide: `#slide-2`, or `#slide-last`. So a reload shows the same
// slide. The first slide of the next page follows the last slide of a page.
{
    // As many lines as the last row of a room can read.
    const LINES = 24;
    // The number of unchanged lines on each side of a change.
    const BESIDE = 3;
    // A presenter sends the keys of pages.
    const FORWARD = ["ArrowRight", "ArrowDown", "PageDown", " "];
    const BACK = ["ArrowLeft", "ArrowUp", "PageUp"];
    const SHOWN = "main :is(.checkbox-label > img, .program)";

    const element = (name, content) => Object.assign(document.createElement(name), content);
    const isEmpty = (line) => line.textContent.trim() === "";

    /// Cuts lines into parts that fit a slide: before an item of the program if possible,
    /// else after another empty line.
    function cut(lines) {
        const parts = [];
        while (lines.length > LINES) {
            const last = (ends) => lines.slice(0, LINES).findLastIndex(
                (line, at) => at > LINES / 3 && isEmpty(line) && ends.test(lines[at + 1].textContent));
            const at = [last(/^\S/), last(/./), LINES - 1].find((at) => at >= 0);
            parts.push(lines.slice(0, at + 1));
            lines = lines.slice(at + 1);
        }
        return [...parts, lines].filter((part) => !part.every(isEmpty));
    }

    /// The slides of a program: its changes with the lines beside them, or all lines if
    /// the page has no changes.
    function ofProgram(program) {
        const all = [...program.querySelectorAll("code > :not(.import)")];
        const hasChanges = document.querySelector("main :is(ins, del)");
        const isNear = (at) => !hasChanges || all.slice(Math.max(at - BESIDE, 0), at + BESIDE + 1)
            .some((line) => line.matches("ins, del"));
        const groups = [[]];
        all.forEach((line, at) => {
            if (isNear(at)) {
                groups.at(-1).push(line);
            } else {
                groups.push([]);
            }
        });
        const heading = program.previousElementSibling;
        const title = heading.matches("h2") ? heading : document.querySelector("main h1");
        return groups.flatMap(cut).map((lines) => ({
            place: lines[0],
            content() {
                const copy = program.cloneNode();
                const [pre, code] = ["pre", "code"].map((it) => program.querySelector(it).cloneNode());
                code.append(...lines.map((line) => line.cloneNode(true)));
                pre.append(code);
                copy.append(pre);
                return [element("h2", { textContent: title.textContent }), copy];
            },
        }));
    }

    /// The slides of this page. The first has the title and the first words.
    function read() {
        const heading = document.querySelector("main h1");
        const first = {
            place: heading,
            content() {
                const words = document.querySelector("main h1 + p:not(:has(img))");
                const title = element("h1", { textContent: heading.textContent });
                return [title, words?.cloneNode(true) ?? ""];
            },
        };
        const others = [...document.querySelectorAll(SHOWN)].flatMap((it) =>
            it.matches("img") ? { place: it, content: () => [it.cloneNode()] } : ofProgram(it));
        return [first, ...others];
    }

    const dialog = element("dialog", { className: "slide", tabIndex: -1 });
    let slides, place;

    /// Shows the slide that the address names, if it names one.
    function show() {
        const [, name] = location.hash.match(/^#slide-(\d+|last)$/) ?? [];
        if (!name) {
            dialog.close();
            return;
        }
        slides ??= read();
        const count = slides.length;
        const number = Math.min(name === "last" ? count : Math.max(name, 1), count);
        const page = (rel, slide) => {
            const link = document.querySelector(`a[rel~=${rel}]`);
            return link && `${link.href}#slide-${slide}`;
        };
        const nav = element("nav");
        const link = (name, href) => href
            && nav.append(element("a", { className: name, textContent: name, href }));
        link("back", number > 1 ? `#slide-${number - 1}` : page("prev", "last"));
        nav.append(`${number} of ${count}`);
        link("next", number < count ? `#slide-${number + 1}` : page("next", 1));
        link("close", "#");
        const slide = element("div");
        slide.append(...slides[number - 1].content());
        place = slides[number - 1].place;
        dialog.replaceChildren(slide, nav);
        if (!dialog.open) {
            // Only here: an open dialog that moves is no longer on top of the page.
            document.body.append(dialog);
            dialog.showModal();
            // No link must look chosen.
            dialog.focus();
        }
    }

    addEventListener("hashchange", show);
    dialog.addEventListener("close", () => {
        location.hash = "";
        place.scrollIntoView({ block: "center" });
    });

    // mdBook also has a meaning for these keys.
    addEventListener("keydown", (event) => {
        const { key, shiftKey, ctrlKey, altKey, metaKey } = event;
        const back = BACK.includes(key) || (key === " " && shiftKey);
        const name = back ? "back" : FORWARD.includes(key) ? "next" : key === "Escape" && "close";
        if (dialog.open && name && !ctrlKey && !altKey && !metaKey) {
            event.preventDefault();
            event.stopImmediatePropagation();
            dialog.querySelector(`.${name}`)?.click();
        }
    }, true);

    if (document.querySelector(SHOWN)) {
        const button = element("button", { type: "button", className: "slides", textContent: "slides" });
        // It begins where the reader is.
        button.addEventListener("click", () => {
            slides ??= read();
            const at = slides.findIndex(({ place }) => place.getBoundingClientRect().bottom > 0);
            location.hash = `slide-${at + 1}`;
        });
        document.body.append(button);
    }
    show();
}
