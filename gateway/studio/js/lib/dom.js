/** Elements, keyed lists and icons. Text is always text: nothing here takes markup. */

const SVG = 'http://www.w3.org/2000/svg';
/** Our own 24-pixel strokes. */
const ICONS = fetch(new URL('../../icons.json', import.meta.url)).then((answer) => answer.json());

/**
 * An element: its tag with classes, perhaps its properties or attributes (`label`: aria-label), then what is in it.
 * @param {string} tag "div.row.quiet" @param {...(Object|Node|string|null|false|Array)} inside @returns {HTMLElement}
 */
export function h(tag, ...inside) {
	const [name, ...classes] = tag.split('.');
	const element = document.createElement(name);
	if (classes.length) element.className = classes.join(' ');
	if (name === 'button') element.type = 'button';
	if (inside[0]?.constructor === Object) for (const [key, value] of Object.entries(inside.shift())) set(element, key, value);
	element.append(...inside.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
	return element;
}

function set(element, name, value) {
	if (value === undefined) return;
	if (name === 'class') element.className = value;
	else if (name === 'data') Object.assign(element.dataset, value);
	else if (name in element && name !== 'role') element[name] = value;
	else if (name === 'label') attribute(element, 'aria-label', value);
	else attribute(element, name, value);
}

/** Set an attribute, or remove it where the value is null or false. `aria-*` keeps "false". */
export function attribute(element, name, value) {
	const gone = value === null || value === undefined || (value === false && !name.startsWith('aria-'));
	if (gone) element.removeAttribute(name);
	else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, String(value));
}

/** Change text only where it differs, so that screen readers and selections are left alone. */
export function text(element, value) {
	if (element.textContent !== value) element.textContent = value;
	return element;
}

const LISTS = new WeakMap();

/**
 * Bring a container's children in line with `items` without re-creating those that stay: they may have focus.
 * @param {function(any): string} keyOf @param {function(any): Element} make @param {function(Element, any): void} [update]
 */
export function keyed(container, items, keyOf, make, update = () => {}) {
	const before = LISTS.get(container) ?? new Map();
	const after = new Map();
	for (const item of items) {
		const key = keyOf(item);
		const element = before.get(key) ?? make(item);
		after.set(key, element);
		update(element, item);
	}
	for (const [key, element] of before) if (!after.has(key)) element.remove();
	let next = container.firstElementChild;
	for (const element of after.values()) {
		if (element === next) next = next.nextElementSibling;
		else container.insertBefore(element, next);
	}
	LISTS.set(container, after);
}

/** Decoration only: words stand beside it or in the control's label. */
export function icon(name, size = 18) {
	const [svg, path] = ['svg', 'path'].map((tag) => document.createElementNS(SVG, tag));
	for (const [key, value] of Object.entries({ viewBox: '0 0 24 24', width: size, height: size, 'aria-hidden': 'true', class: `icon icon-${name}` })) svg.setAttribute(key, value);
	svg.append(path);
	ICONS.then((icons) => path.setAttribute('d', icons[name]));
	return svg;
}

export const button = (name, words, onclick, kind = 'button') => h(`button.${kind}`, { onclick }, icon(name), h('span', words));

export const sign = (name, label, onclick, kind = 'square') => h(`button.button.${kind}`, { onclick, title: label, 'aria-label': label }, icon(name));

export const outlined = (words, onclick, props) => h('button.button.line', { onclick, ...props }, words);

export const link = (words, onclick) => h('button.link', { onclick }, words);

/** A hidden field; `click()` opens it. @param {function(File[]): void} take */
export function chooser(take, props) {
	const input = h('input', { type: 'file', accept: 'image/*,.heic,.heif', hidden: true, ...props });
	input.onchange = () => {
		const files = [...input.files];
		input.value = '';
		if (files.length) take(files);
	};
	return input;
}

/** `show(null)`: nobody knows. @param {string} label */
export function progress(label) {
	const bar = h('span.track', { role: 'progressbar', 'aria-label': label, 'aria-valuemin': '0', 'aria-valuemax': '100' }, h('i'));
	bar.show = (part) => {
		const percent = Math.round((part ?? 0) * 100);
		bar.classList.toggle('unknown', part === null);
		bar.style.setProperty('--done', `${percent}%`);
		attribute(bar, 'aria-valuenow', part === null ? null : percent);
	};
	return bar;
}

export function press(control, on) {
	attribute(control, 'aria-pressed', String(on));
	control.classList.toggle('on', on);
}

let numbers = 0;
export const fresh = (prefix) => `${prefix}-${++numbers}`;
