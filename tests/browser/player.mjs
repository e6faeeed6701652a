// The embeddable player on a real avatar, as a page would have it, with all that it does written down.
import * as THREE from 'three';
import { GLTFLoader } from 'three/addons/loaders/GLTFLoader.js';
import { VRMLoaderPlugin } from '@pixiv/three-vrm';
import { LiveStream, MotionPlayer } from 'motion-player';
import { newPicture } from './picture.mjs';

let vrm;
let player;
let ghost; // another player, on bones that nobody sees, that jumps where the first one fades
let stream;
let messages = [];

const bones = () => Object.keys(vrm.humanoid.humanBones);
const normalised = (bone) => vrm.humanoid.getNormalizedBoneNode(bone);

/** Show the avatar at `url`, standing; returns the VRM version of the file and its bones. */
export async function loadAvatar(url) {
  const loader = new GLTFLoader().register((parser) => new VRMLoaderPlugin(parser));
  vrm = (await loader.loadAsync(url)).userData.vrm;
  vrm.scene.traverse((object) => {
    object.frustumCulled = false;
  });
  player = new MotionPlayer(vrm);
  player.update(0);
  const twins = new Map(bones().map((bone) => [bone, normalised(bone).clone(false)]));
  const humanoid = { getNormalizedBoneNode: (bone) => twins.get(bone) ?? null, normalizedRestPose: vrm.humanoid.normalizedRestPose };
  ghost = { twins, player: new MotionPlayer({ meta: vrm.meta, humanoid }) };
  return { version: vrm.meta.metaVersion, bones: bones() };
}

/** World position of every raw bone, metres, when `motion` is at the given seconds: {bone: [[x, y, z], ..]}. */
export function samplePlaces(motion, seconds) {
  player.play(motion, { cut: true, hold: true });
  player.playing.paused = true;
  return places(seconds, (time) => {
    player.playing.seek(time);
    player.update(0);
  });
}

/** The same when it plays from the start in `frames` a second, at every one of them. */
export function samplePlaying(motion, frames, seconds, interpolate) {
  player.play(motion, { cut: true, hold: true, interpolate });
  player.update(0);
  const times = Array.from({ length: Math.round(seconds * frames) }, (_, i) => i);
  return places(times, (i) => i > 0 && player.update(1 / frames));
}

function places(moments, show) {
  const found = {};
  for (const moment of moments) {
    show(moment);
    vrm.update(0);
    vrm.scene.updateMatrixWorld(true);
    for (const bone of bones()) {
      const point = vrm.humanoid.getRawBoneNode(bone).getWorldPosition(new THREE.Vector3());
      (found[bone] ??= []).push(point.toArray());
    }
  }
  return found;
}

/** Play; what became of it. */
export const play = (motion, options) => player.play(motion, options);
export const beginTurn = (turn) => player.beginTurn(turn);
export const interrupt = () => player.interrupt();
export const isPlaying = () => player.playing !== null;

/**
 * Draw in real time for some seconds, doing `script` [[second, motion, own], ..] on the way; motion null interrupts, and
 * `own` is then what to compare with. Tells for each frame its seconds, the largest turn of a bone in it, and by how much
 * more than in the motion itself a bone turned at most, in degrees.
 */
export async function perform(seconds, script) {
  const picture = newPicture(vrm, 3);
  const steps = [];
  const orders = [...script];
  const begun = performance.now();
  let last = begun;
  while (performance.now() - begun < 1000 * seconds) {
    const now = await new Promise(requestAnimationFrame);
    const dt = Math.max(0, now - last) / 1000;
    last = now;
    if (orders.length > 0 && now - begun > 1000 * orders[0][0]) order(...orders.shift().slice(1));
    const before = readPoses();
    player.update(dt);
    ghost.player.update(dt);
    vrm.update(dt);
    picture.draw();
    const after = readPoses();
    steps.push({ seconds: dt, turn: widest(before, after, false), more: widest(before, after, true), fading: player.fading });
  }
  return steps;
}

function order(motion, own = motion) {
  if (motion === null) player.interrupt();
  else player.play(motion);
  ghost.player.play(own, { cut: true, hold: true });
  ghost.player.update(0);
}

const readPoses = () => bones().map((bone) => [normalised(bone).quaternion.clone(), ghost.twins.get(bone).quaternion.clone()]);

function widest(before, after, more) {
  const turns = before.map(([seen, own], i) => angle(seen, after[i][0]) - (more ? angle(own, after[i][1]) : 0));
  return THREE.MathUtils.radToDeg(Math.max(...turns));
}

function angle(from, to) {
  const { x, y, z, w } = to.clone().multiply(from.clone().invert());
  return 2 * Math.atan2(Math.hypot(x, y, z), Math.abs(w));
}

/** Follow a live stream from now on. */
export function follow(url, options) {
  messages = [];
  stream = new LiveStream(url, { ...options, onMessage: ({ type, revision }) => messages.push({ type, revision }) });
  player.follow(stream);
}
export const say = (text) => stream.prompt(text);
export const status = () => ({ ...stream.status, messages, revision: messages.at(-1)?.revision });
export const leave = () => stream.close();

/** Place of the hips, and how far the bones are from another pose than standing: whether anything moves. */
export const readHips = () => normalised('hips').position.toArray();
