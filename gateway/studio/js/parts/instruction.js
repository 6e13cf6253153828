/** The words and pictures that a kind of edit asks for, with what is wrong with each. */

import { attribute, button, chooser, define, fresh, h, keyed, Part, sign, text } from '../lib/element.js';

const WORDS = { search_prompt: ['What to find', 'the grey cube'], select_prompt: ['What to recolour', 'the vase'], prompt: ['Instruction', 'Describe the change'] };
const PROMPT_LABELS = { search_replace: 'What to put there', search_recolor: 'The new colour', relight: 'The new light' };
const SIDES = { expand_left: 'Left', expand_right: 'Right', expand_up: 'Top', expand_down: 'Bottom' };
const PICTURES = { background_image: 'Background picture', lighting_image: 'Light picture', reference_images: 'Reference pictures' };
const EXAMPLES = {
	general_edit: ['Warm terracotta backdrop, late-afternoon window light', 'Same product on a marble shelf'],
	inpaint: ['A small stack of art books'],
	search_replace: ['A lemon', 'A glass bottle'],
	search_recolor: ['Deep blue', 'Soft terracotta'],
	relight: ['Soft window light from the left', 'Golden hour on a beach'],
};
const SIDE_MAX = 2000;

class Instruction extends Part {
	/** rules: `fields` of the operation; values: text and numbers by field; files: File[] by field; errors: {pointer, message}[] */
	static props = { operation: '', rules: null, values: {}, files: {}, errors: [], promptMax: 8000, references: true };

	update() {
		if (!this.rules) return;
		const taken = new Set([...this.rules.required, ...this.rules.one_of, ...this.rules.optional]);
		if (taken.has('expand_left')) taken.add('sides');
		if (!this.references) taken.delete('reference_images');
		const names = [...Object.keys(WORDS), 'sides', ...Object.keys(PICTURES)].filter((name) => taken.has(name));
		const make = (name) => (name === 'sides' ? this.#sides() : name in PICTURES ? this.#pictures(name) : this.#words(name));
		keyed(this, names, (name) => name, make, (block) => block.refresh());
	}

	#say(name, value) {
		this.emit('field-change', { name, value });
	}

	#fault(name) {
		return this.errors.find(({ pointer }) => pointer.slice(1).split('/')[0].replace(/_(base64|id|url)$/, '') === name)?.message ?? '';
	}

	#words(name) {
		const id = fresh(name);
		const label = h('label', { for: id });
		const count = h('span.faint', { 'aria-hidden': 'true' });
		const fault = h('p.fault', { id: `${id}-fault` });
		const long = name === 'prompt';
		const field = h(long ? 'textarea.field' : 'input.field', { id, placeholder: WORDS[name][1], 'aria-describedby': fault.id, rows: 3, maxLength: this.promptMax, data: { field: name }, oninput: () => this.#say(name, field.value) });
		const examples = h('div.examples');
		const example = (words) => h('button.example.cut', { onclick: () => (this.#say(name, words), field.focus()) }, words);
		const block = h('div.block', h('div.block-head', h('h2', label), long && count), field, fault, long && examples);
		block.refresh = () => {
			text(label, (long && PROMPT_LABELS[this.operation]) || WORDS[name][0]);
			const value = this.values[name] ?? '';
			if (field.value !== value) field.value = value;
			text(count, `${value.length} / ${this.promptMax}`);
			text(fault, this.#fault(name));
			attribute(field, 'aria-invalid', fault.textContent ? 'true' : null);
			keyed(examples, value ? [] : EXAMPLES[this.operation] ?? [], (words) => words, example);
		};
		return block;
	}

	#sides() {
		const fault = h('p.fault');
		const names = Object.keys(SIDES);
		const fields = names.map((name) => {
			const input = h('input.field', { type: 'number', min: 0, max: SIDE_MAX, step: 1, inputMode: 'numeric', oninput: () => this.#say(name, Math.min(SIDE_MAX, Math.max(0, Math.round(input.valueAsNumber || 0)))) });
			return h('label', SIDES[name], input);
		});
		const all = h('button.example', { onclick: () => names.forEach((name) => this.#say(name, 256)) }, '256 px on every side');
		const block = h('div.block', h('h2', 'How far to extend, in pixels'), h('div.sides', fields), h('div.examples', all), fault);
		block.refresh = () => {
			fields.forEach(({ lastChild: input }, n) => {
				if (input !== document.activeElement) input.value = this.values[names[n]] ?? 0;
			});
			text(fault, names.map((name) => this.#fault(name)).find(Boolean) ?? '');
		};
		return block;
	}

	#pictures(name) {
		const many = name === 'reference_images';
		const fault = h('p.fault');
		const list = h('div.picked');
		const say = (files) => this.emit('files-change', { name, files });
		const input = chooser((files) => say(many ? [...(this.files[name] ?? []), ...files] : files), { multiple: many });
		const row = (file) => h('div.picked-row', h('span.words.cut', file.name), sign('close', `Remove ${file.name}`, () => say(this.files[name].filter((one) => one !== file))));
		const block = h('div.block', list, h('div', button('plus', PICTURES[name], () => input.click(), 'link'), input), fault);
		block.refresh = () => {
			keyed(list, this.files[name] ?? [], (file) => `${file.name}/${file.size}/${file.lastModified}`, row);
			text(fault, this.#fault(name));
		};
		return block;
	}
}
define('es-instruction', Instruction);
