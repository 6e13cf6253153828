/** What matters in the choice, the model's own options by their JSON Schema, how the result is delivered. */

import { attribute, define, fresh, h, icon, keyed, Part } from '../lib/element.js';

const PREFER = { cost: 'Lowest cost', quality: 'Best quality', speed: 'Fastest' };
const FORMATS = { '': 'As the picture', png: 'PNG', jpeg: 'JPEG', webp: 'WebP', avif: 'AVIF' };
const SIZES = { match_input: 'As the picture', model: 'As the model returns it' };
const SLIDER_STEPS_MAX = 1000;
const FILLED = ['size', 'negative_prompt', 'mask', 'image', 'output_format'];

/** A control below its label; `show` brings it in line with a value. */
function setting(label, control, show, ...beside) {
	control.id = fresh('setting');
	return Object.assign(h('div.setting', h('label', { for: control.id }, label), beside.length ? h('div.two', beside, control) : control), { show });
}

function select(label, choices, say) {
	const field = h('select.field', { onchange: () => say(field.value) }, Object.entries(choices).map(([value, words]) => h('option', { value }, words)));
	return setting(label, field, (value) => (field.value = value ?? Object.keys(choices)[0]));
}

function words(label, placeholder, say) {
	const field = h('input.field', { placeholder, maxLength: 8000, oninput: () => say(field.value) });
	return setting(label, field, (value) => field.value !== (value ?? '') && (field.value = value ?? ''));
}

function tick(label, first, say) {
	const field = h('input', { type: 'checkbox', onchange: () => say(field.checked) });
	return Object.assign(h('label.tick', field, h('span', label)), { show: (value) => (field.checked = value ?? first ?? false) });
}

/** With a slider where the bounds are near. Nothing written says undefined. */
function number(label, { type, minimum = -Infinity, maximum = Infinity, default: first }, placeholder, say) {
	const whole = type === 'integer';
	const span = maximum - minimum;
	const bounds = { min: Number.isFinite(minimum) ? minimum : '', max: Number.isFinite(maximum) ? maximum : '' };
	const field = h('input.field', { type: 'number', ...bounds, step: whole ? 1 : 'any', placeholder, inputMode: 'decimal', oninput: () => took(field.valueAsNumber) });
	const slider = span <= SLIDER_STEPS_MAX && h('input', { type: 'range', ...bounds, step: whole ? 1 : span / 100, label: label, oninput: () => ((field.value = slider.value), took(slider.valueAsNumber)) });
	const took = (value) => {
		const good = value >= minimum && value <= maximum;
		attribute(field, 'aria-invalid', good || field.value === '' ? null : 'true');
		if (good) say(whole ? Math.round(value) : value);
		else if (field.value === '') say(undefined);
	};
	const show = (value) => {
		if (field !== document.activeElement) field.value = value ?? '';
		if (slider) slider.value = value ?? first ?? minimum;
	};
	return setting(label, field, show, ...(slider ? [slider] : []));
}

class Settings extends Part {
	/** schema: `parameters` of the model or null; values: {prefer, output_format, size, max_cost, ask_above, negative_prompt, options: {}} */
	static props = { schema: null, values: {}, auto: true, negative: false };

	build() {
		const say = (name) => (value) => this.emit('setting-change', { name, value });
		const usd = (name, label, placeholder) => number(`${label} ($)`, { minimum: 0 }, placeholder, say(name));
		this.common = {
			prefer: select('When the service chooses, prefer', PREFER, say('prefer')),
			negative_prompt: words('What to avoid', 'text, watermark', say('negative_prompt')),
			output_format: select('File format', FORMATS, say('output_format')),
			size: select('Size of the result', SIZES, say('size')),
			max_cost: usd('max_cost', 'Never spend more than, on one edit', 'no limit'),
			ask_above: usd('ask_above', 'Ask before a run that costs more than', '1.00'),
		};
		const [first, ...rest] = Object.values(this.common);
		this.own = h('div.settings');
		this.append(h('details.about', h('summary.plain', icon('sliders', 16), 'More settings'), h('div.settings', first, this.own, rest)));
	}

	update() {
		this.common.prefer.hidden = !this.auto;
		this.common.negative_prompt.hidden = !this.negative;
		for (const [name, element] of Object.entries(this.common)) element.show(this.values[name]);
		const own = Object.entries(this.schema?.properties ?? {}).filter(([, one]) => !FILLED.includes(one['x-field']));
		keyed(this.own, own, (one) => JSON.stringify(one), ([name, one]) => this.#own(name, one), (element, [name]) => element.show(this.values.options?.[name]));
	}

	#own(name, schema) {
		const label = name.replaceAll('_', ' ').replace(/^./, (letter) => letter.toUpperCase());
		const say = (value) => this.emit('setting-change', { name: 'options', value: { ...this.values.options, [name]: value } });
		if (schema.enum) {
			const byText = new Map(schema.enum.map((one) => [String(one), one]));
			const choices = Object.fromEntries([['', `Default${schema.default === undefined ? '' : ` (${schema.default})`}`], ...[...byText.keys()].map((one) => [one, one])]);
			return select(label, choices, (value) => say(byText.get(value)));
		}
		if (schema.type === 'boolean') return tick(label, schema.default, say);
		if (schema.type === 'integer' || schema.type === 'number') return number(label, schema, schema.default ?? 'default', say);
		return words(label, schema.default ?? '', (value) => say(value || undefined));
	}
}
define('es-settings', Settings);
