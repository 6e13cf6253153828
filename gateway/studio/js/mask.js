/** A mask as strokes on a canvas: what is painted is the mask, undoing replays the strokes. */

const SIDE_MAX = 4096;
const SAMPLE_PX = 64;
const PAINT = '#FF2E63';

export class Mask {
	#done = [];
	#undone = [];

	/** @param {{width: number, height: number}} size the picture's, upright */
	constructor(size) {
		this.size = size;
		const scale = Math.min(1, SIDE_MAX / Math.max(size.width, size.height));
		this.canvas = document.createElement('canvas');
		this.canvas.width = Math.max(1, Math.round(size.width * scale));
		this.canvas.height = Math.max(1, Math.round(size.height * scale));
		this.scale = scale;
		this.context = this.canvas.getContext('2d');
		this.sample = new OffscreenCanvas(SAMPLE_PX, SAMPLE_PX);
	}

	get canUndo() {
		return this.#done.length > 0;
	}

	get canRedo() {
		return this.#undone.length > 0;
	}

	/** Points are in picture pixels. @param {{kind: string}} act */
	add(act) {
		this.#done.push(act);
		this.#undone = [];
		this.#draw(act, 0);
	}

	extend(points) {
		const stroke = this.#done.at(-1);
		const from = Math.max(0, stroke.points.length - 1);
		stroke.points.push(...points);
		this.#draw(stroke, from);
	}

	undo() {
		if (!this.canUndo) return;
		this.#undone.push(this.#done.pop());
		this.#replay();
	}

	redo() {
		if (!this.canRedo) return;
		const act = this.#undone.pop();
		this.#done.push(act);
		this.#draw(act, 0);
	}

	#replay() {
		this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
		for (const act of this.#done) this.#draw(act, 0);
	}

	#draw(act, from) {
		const { context, canvas } = this;
		context.globalCompositeOperation = 'source-over';
		if (act.kind === 'clear') context.clearRect(0, 0, canvas.width, canvas.height);
		else if (act.kind === 'fill' || act.kind === 'invert') {
			if (act.kind === 'invert') context.globalCompositeOperation = 'source-out';
			context.fillStyle = PAINT;
			context.fillRect(0, 0, canvas.width, canvas.height);
		} else if (act.kind === 'picture') {
			context.clearRect(0, 0, canvas.width, canvas.height);
			context.drawImage(act.picture, 0, 0, canvas.width, canvas.height);
		} else this.#stroke(act, from);
	}

	#stroke({ erases, size, points }, from) {
		const { context, scale } = this;
		context.globalCompositeOperation = erases ? 'destination-out' : 'source-over';
		Object.assign(context, { lineWidth: Math.max(1, size * scale), lineCap: 'round', lineJoin: 'round', strokeStyle: PAINT });
		context.beginPath();
		const [x, y] = points[from];
		context.moveTo(x * scale, y * scale);
		// A point alone is a line of no length, which a round cap makes a dot.
		for (const [toX, toY] of points.length > from + 1 ? points.slice(from + 1) : [points[from]]) context.lineTo(toX * scale, toY * scale);
		context.stroke();
	}

	/** 0 to 1, from a small sample. */
	coverage() {
		const context = this.sample.getContext('2d', { willReadFrequently: true });
		context.clearRect(0, 0, SAMPLE_PX, SAMPLE_PX);
		context.drawImage(this.canvas, 0, 0, SAMPLE_PX, SAMPLE_PX);
		const { data } = context.getImageData(0, 0, SAMPLE_PX, SAMPLE_PX);
		let sum = 0;
		for (let at = 3; at < data.length; at += 4) sum += data[at];
		return sum / 255 / (SAMPLE_PX * SAMPLE_PX);
	}

	/** White is changed, black is kept. @returns {Promise<Blob>} */
	async png() {
		const { width, height } = this.size;
		const out = new OffscreenCanvas(width, height);
		const context = out.getContext('2d', { alpha: false });
		context.drawImage(this.canvas, 0, 0, width, height);
		const pixels = context.getImageData(0, 0, width, height);
		const { data } = pixels;
		// On black, paint leaves its red; half of it decides.
		for (let at = 0; at < data.length; at += 4) data[at] = data[at + 1] = data[at + 2] = data[at] > 127 ? 255 : 0;
		context.putImageData(pixels, 0, 0);
		return out.convertToBlob({ type: 'image/png' });
	}

	/** What is light and opaque in another picture is painted. */
	async load(file) {
		const bitmap = await createImageBitmap(file);
		const layer = new OffscreenCanvas(this.canvas.width, this.canvas.height);
		const context = layer.getContext('2d');
		context.drawImage(bitmap, 0, 0, layer.width, layer.height);
		bitmap.close();
		const pixels = context.getImageData(0, 0, layer.width, layer.height);
		const { data } = pixels;
		for (let at = 0; at < data.length; at += 4) {
			const light = (data[at] * 3 + data[at + 1] * 6 + data[at + 2]) / 10 > 127 && data[at + 3] > 127;
			data[at] = 255;
			data[at + 1] = 46;
			data[at + 2] = 99;
			data[at + 3] = light ? 255 : 0;
		}
		context.putImageData(pixels, 0, 0);
		this.add({ kind: 'picture', picture: layer });
	}
}
