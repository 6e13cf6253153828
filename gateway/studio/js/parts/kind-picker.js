import { define, fresh, h, icon, Part } from '../lib/element.js';

/** In this order; one that is new to us follows under its own label. */
const KINDS = {
	general_edit: ['Prompt edit', 'wand'],
	inpaint: ['Inpaint', 'brush'],
	erase: ['Erase', 'eraser'],
	remove_background: ['Cut out', 'scissors'],
	outpaint: ['Extend', 'expand'],
	upscale: ['Upscale', 'upscale'],
	search_replace: ['Replace', 'swap'],
	search_recolor: ['Recolour', 'drop'],
	relight: ['Relight', 'sun'],
};
const ORDER = Object.keys(KINDS);
const place = ({ id }) => (ORDER.indexOf(id) + 1 || ORDER.length + 1);

class KindPicker extends Part {
	static props = { operations: [], value: '' };

	build() {
		this.name = fresh('kind');
		this.set = h('fieldset', h('legend', 'Edit'));
		this.append(this.set);
		this.radios = new Map();
		this.onchange = (event) => this.emit('kind-select', { id: event.target.value });
	}

	update() {
		for (const { id, label, description } of [...this.operations].sort((a, b) => place(a) - place(b))) {
			if (this.radios.has(id)) continue;
			const [words, picture] = KINDS[id] ?? [label, 'wand'];
			const radio = h('input', { type: 'radio', name: this.name, value: id });
			this.radios.set(id, radio);
			this.set.append(h('label', { title: description }, radio, icon(picture, 16), h('span.cut', words)));
		}
		for (const [id, radio] of this.radios) radio.checked = id === this.value;
	}
}
define('es-kind-picker', KindPicker);
