/** ModelInfoCard: all about one model. */

import { define, h, icon, Part } from '../lib/element.js';
import { initials, providerLabel, sideLabel, tierLabel, timeLabel, worksSmaller } from '../models.js';
import { money, ratio } from '../cost.js';

export const mark = (model) => h(`span.mark.${model.tier}`, { 'aria-hidden': 'true' }, initials(model.name));

export const tierTag = (model) => h(`span.tag.${model.tier}`, tierLabel(model.tier));
export const starTag = () => h('span.tag.star', icon('star', 11), 'Recommended');

export function side(model, image) {
	const smaller = worksSmaller(model, image);
	return h('span', smaller ? { class: 'smaller', title: 'Works smaller than this picture; the result is scaled back' } : {}, sideLabel(model));
}

export const references = (model) => (model.max_images > 1 ? `up to ${model.max_images - 1}` : 'none');
const MASKS = { native: 'takes one', composited: 'cut and pasted', no: 'no' };

class ModelCard extends Part {
	/** reference: the model that its price is compared with; compact: its name stands elsewhere */
	static props = { model: null, details: null, reference: null, recommended: false, image: null, compact: false };

	update() {
		const { model, details, reference: other } = this;
		if (!model) return this.replaceChildren();
		const cost = model.cost_from === model.cost_to ? money(model.cost) : `${money(model.cost_from)}–${money(model.cost_to)}`;
		const performance = details?.performance ?? model.performance;
		const facts = {
			Cost: [cost, h('span.faint', details?.price_unit === 'megapixel' ? ' / megapixel' : ' / edit')],
			Time: timeLabel(performance),
			'Largest side': side(model, this.image),
			References: references(model),
			Mask: MASKS[model.supports_mask],
			Quality: model.quality,
		};
		const notice = (words) => h('p.notice', icon('alert', 14), ` ${words}`);
		const ill = { down: 'Does not answer at the moment', degraded: 'Fails more often than usual' }[details?.health?.state];
		const ending = { retired: 'This model is retired.', deprecated: 'Its maker has announced the end of this model.' }[model.status];
		const inside = [
			!this.compact && h('div.row', mark(model), h('div.grow', h('h3', model.name), h('p.quiet', providerLabel(model.provider))), tierTag(model)),
			this.recommended && h('div', starTag()),
			ending && notice(ending),
			ill && notice(ill),
			h('p.quiet', model.description),
			h('dl.facts', Object.entries(facts).map(([name, value]) => h('div', h('dt', name), h('dd', value)))),
			other && other.id !== model.id && h('p.quiet', `${ratio(model.cost, other.cost)} than ${other.name}`.replace('= than', 'Same price as')),
			model.use_cases.length > 0 && h('div.best', h('h3.quiet', 'Best for'), h('ul', model.use_cases.map((use) => h('li', icon('check', 14), use)))),
			h('div.row', model.features.map((feature) => h('span.tag', feature))),
			details?.pricing?.length > 1 && this.#prices(details),
			(details?.example_prompts ?? []).slice(0, 3).map((words) => h('button.example.cut', { onclick: () => this.emit('use-prompt', { text: words }) }, words)),
			model.docs_url && h('a.link', { href: model.docs_url, rel: 'noreferrer noopener', target: '_blank' }, 'Documentation of the model'),
		];
		return this.replaceChildren(...inside.flat().filter(Boolean));
	}

	#prices({ pricing, price_unit: unit }) {
		const words = ({ when }) => Object.entries(when).map(([name, value]) => `${name.replaceAll('_', ' ')} ${value}`).join(', ') || 'otherwise';
		return h('details', h('summary', `All prices, per ${unit}`), h('table', h('tbody', pricing.map((row) => h('tr', h('td', words(row)), h('td', money(row.usd)))))));
	}
}
define('es-model-card', ModelCard);
