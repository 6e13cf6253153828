/** Painting by pointer, touch and keys; and the tools for it. */

import { attribute, chooser, define, h, Part, press, sign, text } from '../lib/element.js';

const SIZE_MIN = 4;
const SIZE_MAX = 400;

class MaskEditor extends Part {
	/** image: the picture; mask: a Mask; tool: paint or erase; size: of the brush, in picture pixels */
	static props = { image: null, mask: null, tool: 'paint', size: 60, visible: true };

	#pointer = null;
	#at = null;

	build() {
		this.picture = h('img', { alt: '' });
		this.ring = h('span.ring', { hidden: true });
		this.frame = h('div.frame', this.picture, this.ring);
		this.append(h('div.view', this.frame));
	}

	update(changed) {
		if (changed.has('image') && this.image) {
			this.picture.src = this.image.url;
			this.picture.alt = this.image.name;
			this.frame.style.setProperty('--ratio', this.image.width / this.image.height);
			this.#at = [this.image.width / 2, this.image.height / 2];
		}
		if (changed.has('mask') && this.mask) this.#mount(this.mask.canvas);
		this.classList.toggle('hides', !this.visible);
		this.#ring();
	}

	#mount(canvas) {
		this.canvas?.remove();
		this.canvas = canvas;
		attribute(canvas, 'role', 'application');
		attribute(canvas, 'aria-label', 'Mask. Arrow keys move the brush, Space paints, B and E choose the tool, Escape leaves.');
		this.frame.insertBefore(canvas, this.ring);
		// An old canvas takes its listeners with it.
		Object.assign(canvas, {
			tabIndex: 0,
			onpointerdown: (event) => this.#down(event),
			onpointermove: (event) => this.#move(event),
			onpointerup: (event) => this.#up(event),
			onpointercancel: (event) => this.#up(event),
			onpointerleave: () => this.#pointer === null && (this.ring.hidden = true),
			onkeydown: (event) => this.#key(event),
			onkeyup: ({ key }) => key === ' ' && this.#lift(),
			onblur: () => this.#lift(),
			onfocus: () => this.#ring(),
		});
		this.#say();
	}

	#lift() {
		if (this.#space) this.#say();
		this.#space = false;
		this.#ring();
	}

	#point(event) {
		const box = this.canvas.getBoundingClientRect();
		return [((event.clientX - box.left) / box.width) * this.image.width, ((event.clientY - box.top) / box.height) * this.image.height];
	}

	#begin(points, erases) {
		this.mask.add({ kind: 'stroke', erases, size: this.size, points });
	}

	#down(event) {
		if (event.button !== 0 || this.#pointer !== null) return;
		this.#pointer = event.pointerId;
		this.canvas.setPointerCapture(event.pointerId);
		this.#at = this.#point(event);
		this.#begin([this.#at], event.shiftKey || this.tool === 'erase');
		this.#ring();
	}

	#move(event) {
		if (this.#pointer !== null && event.pointerId !== this.#pointer) return;
		this.#at = this.#point(event);
		if (this.#pointer !== null) {
			const between = event.getCoalescedEvents?.() ?? [];
			this.mask.extend((between.length ? between : [event]).map((one) => this.#point(one)));
		}
		this.#ring();
	}

	#up(event) {
		if (event.pointerId !== this.#pointer) return;
		this.#pointer = null;
		this.#say();
	}

	#key(event) {
		const step = (event.shiftKey ? 5 : 1) * Math.max(4, Math.min(this.image.width, this.image.height) / 100);
		const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
		const low = event.key.toLowerCase();
		if (by) {
			const most = [this.image.width, this.image.height];
			this.#at = this.#at.map((value, n) => Math.max(0, Math.min(most[n], value + by[n])));
			if (this.#space) this.mask.extend([this.#at]);
		} else if (event.key === ' ') {
			if (!this.#space) this.#begin([this.#at], event.shiftKey || this.tool === 'erase');
			this.#space = true;
		} else if ((event.ctrlKey || event.metaKey) && low === 'z') this.emit('mask-act', { act: event.shiftKey ? 'redo' : 'undo' });
		else if (event.ctrlKey || event.metaKey || event.altKey) return;
		else if (low === 'b' || low === 'e') this.emit('mask-set', { tool: low === 'b' ? 'paint' : 'erase' });
		else if (low === '[' || low === ']') this.emit('mask-set', { brush: Math.max(SIZE_MIN, Math.min(SIZE_MAX, Math.round(this.size * (low === ']' ? 1.2 : 1 / 1.2)))) });
		else if (low === 'i') this.emit('mask-act', { act: 'invert' });
		else if (event.key === 'Escape') document.getElementById('stage').focus();
		else return;
		event.preventDefault();
		event.stopPropagation();
		this.#ring();
		if (by || event.key === ' ') this.#say();
	}

	#space = false;

	#ring() {
		if (!this.image || !this.#at) return;
		this.ring.hidden = !(this.canvas?.matches(':hover, :focus-visible') || this.#pointer !== null);
		const { style } = this.ring;
		style.left = `${(this.#at[0] / this.image.width) * 100}%`;
		style.top = `${(this.#at[1] / this.image.height) * 100}%`;
		style.width = `${(this.size / this.image.width) * 100}%`;
		style.aspectRatio = '1';
	}

	#say() {
		this.emit('mask-change', { coverage: this.mask.coverage() });
	}
}
define('es-mask-editor', MaskEditor);

class MaskTools extends Part {
	static props = { tool: 'paint', size: 60, visible: true, coverage: 0, canUndo: false, canRedo: false };

	build() {
		const say = (type, detail) => () => this.emit(type, detail);
		const act = (picture, name, label) => sign(picture, label, say('mask-act', { act: name }));
		this.paint = sign('brush', 'Paint (B)', say('mask-set', { tool: 'paint' }));
		this.erase = sign('eraser', 'Erase (E, or Shift while painting)', say('mask-set', { tool: 'erase' }));
		this.range = h('input', { type: 'range', min: SIZE_MIN, max: SIZE_MAX, label: 'Brush size', oninput: () => this.emit('mask-set', { brush: this.range.valueAsNumber }) });
		this.undo = act('undo', 'undo', 'Undo');
		this.redo = act('redo', 'redo', 'Redo');
		this.eye = sign('eye', 'Show the mask', () => this.emit('mask-set', { maskVisible: !this.visible }));
		this.share = h('span.share', { role: 'status' });
		const input = chooser(([file]) => this.emit('mask-file', { file }));
		const load = sign('upload', 'Use a picture as mask: light is changed', () => input.click());
		this.append(h('div.floating', { role: 'toolbar', label: 'Mask' }, this.paint, this.erase, this.range, this.undo, this.redo, act('contrast', 'invert', 'Invert (I)'), act('fill', 'fill', 'Select everything'), act('trash', 'clear', 'Clear the mask'), load, this.eye, input, this.share));
	}

	update() {
		press(this.paint, this.tool === 'paint');
		press(this.erase, this.tool === 'erase');
		press(this.eye, this.visible);
		this.range.value = String(this.size);
		attribute(this.undo, 'aria-disabled', this.canUndo ? null : 'true');
		attribute(this.redo, 'aria-disabled', this.canRedo ? null : 'true');
		const percent = this.coverage * 100;
		text(this.share, this.coverage === 0 ? 'Paint what changes' : `${percent < 1 ? 'under 1' : Math.round(percent)} % will change`);
	}
}
define('es-mask-tools', MaskTools);
