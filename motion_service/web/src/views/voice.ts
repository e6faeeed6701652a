// A recorded voice: how loud it is over time, and its sound, played when the body begins to speak.
const RATE = 50; // values a second

export interface Envelope {
  rate: number;
  /** RMS, from the start. */
  values: number[];
}

export class Voice {
  readonly envelope: Envelope;
  private playing: AudioBufferSourceNode | null = null;

  private constructor(
    private readonly audio: AudioContext,
    private readonly sound: AudioBuffer,
  ) {
    this.envelope = loudness(sound);
  }

  get seconds(): number {
    return this.sound.duration;
  }

  /** Reads whatever audio the browser can. Throws a DOMException for what is none. */
  static async read(file: File): Promise<Voice> {
    const audio = new AudioContext();
    return new Voice(audio, await audio.decodeAudioData(await file.arrayBuffer()));
  }

  /** Let it be heard from now. */
  play(): void {
    this.stop();
    void this.audio.resume();
    this.playing = this.audio.createBufferSource();
    this.playing.buffer = this.sound;
    this.playing.connect(this.audio.destination);
    this.playing.start();
  }

  stop(): void {
    this.playing?.stop();
    this.playing = null;
  }
}

function loudness(sound: AudioBuffer): Envelope {
  const samples = sound.getChannelData(0);
  const step = sound.sampleRate / RATE;
  const values = Array.from({ length: Math.max(1, Math.floor(samples.length / step)) }, (_, i) => {
    const part = samples.subarray(Math.floor(i * step), Math.floor((i + 1) * step));
    const power = part.reduce((sum, sample) => sum + sample * sample, 0) / (part.length || 1);
    return Number(Math.sqrt(power).toFixed(5));
  });
  return { rate: RATE, values };
}
