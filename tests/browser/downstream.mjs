// What the assistant's front end does to an answer, as facts of KingYoSun/fullstack-vrm-assistant at 8291b0d say:
// AvatarCanvas.tsx (camera, cross-fade, what follows a clip) and vrmaLoader.ts (tracks, the boost of small ones).
import * as THREE from 'three';
import { GLTFLoader } from 'three/addons/loaders/GLTFLoader.js';
import { VRMLoaderPlugin } from '@pixiv/three-vrm';

const FADE = 0.2; // seconds
const FRAME = 1 / 60; // seconds
const BOOST_BELOW = THREE.MathUtils.degToRad(8);
const BOOST = 4;
const FOV = 28; // degrees
const FITTED_DISTANCE = [0.6, 1.8]; // metres; then the orbit controls have their own nearest and farthest
const ORBIT_DISTANCE = [0.9, 3.5];

let vrm;
let mixer;
let idle;
let picture; // what the camera is fitted to, measured once in the T-pose

const clamp = (value, [low, high]) => Math.min(Math.max(value, low), high);
const raw = (bone) => vrm.humanoid.getRawBoneNode(bone);
const normalised = (bone) => vrm.humanoid.getNormalizedBoneNode(bone);
const place = (node) => node.getWorldPosition(new THREE.Vector3());

/** Show the avatar at `url` in its T-pose; returns the VRM version of the file. */
export async function loadAvatar(url) {
  const loader = new GLTFLoader().register((parser) => new VRMLoaderPlugin(parser));
  vrm = (await loader.loadAsync(url)).userData.vrm;
  vrm.scene.updateMatrixWorld(true);
  const box = new THREE.Box3().setFromObject(vrm.scene);
  const head = place(raw('head'));
  const crown = raw('head').worldToLocal(new THREE.Vector3(head.x, box.max.y, head.z));
  picture = { height: box.max.y - box.min.y, head, neck: place(raw('neck') ?? raw('upperChest') ?? raw('chest')), crown };
  mixer = new THREE.AnimationMixer(vrm.scene);
  idle = undefined;
  return vrm.meta.metaVersion;
}

/** The head-and-shoulders camera, on the side of the scene's -Z as in the assistant, or turned round to its +Z. */
function makeCamera(aspect, side) {
  const focus = picture.head.clone().lerp(picture.neck, 0.35);
  focus.y += 0.05 * picture.height;
  const seen = clamp(0.3 * picture.height, [0.32, 0.6]);
  const fitted = clamp(seen / (2 * Math.tan(THREE.MathUtils.degToRad(FOV / 2))), FITTED_DISTANCE);
  const camera = new THREE.PerspectiveCamera(FOV, aspect, 0.1, 1000);
  camera.position.copy(focus).add(new THREE.Vector3(0, 0, side * clamp(fitted, ORBIT_DISTANCE)));
  camera.lookAt(focus);
  camera.updateMatrixWorld(true);
  return camera;
}

/** Tracks on normalised bones, small ones turned four times as far, and the place of the hips as it is. */
function makeClip(motion) {
  const tracks = [];
  for (const [bone, keys] of Object.entries(motion.tracks)) {
    const node = normalised(bone);
    if (!node) continue;
    const quats = keys.map(({ x, y, z, w }) => new THREE.Quaternion(x, y, z, w).normalize());
    const small = Math.max(...quats.map(angleByW)) < BOOST_BELOW;
    const values = quats.flatMap((quat) => (small ? boosted(quat) : quat).toArray());
    tracks.push(new THREE.QuaternionKeyframeTrack(`${node.name}.quaternion`, keys.map((key) => key.t), values));
  }
  const root = motion.rootPosition;
  const places = root.flatMap((key) => [key.x, key.y, key.z]);
  tracks.push(new THREE.VectorKeyframeTrack(`${normalised('hips').name}.position`, root.map((key) => key.t), places));
  return new THREE.AnimationClip('motion', motion.duration_sec, tracks);
}

const angleByW = ({ w }) => 2 * Math.acos(clamp(w, [-1, 1]));

function boosted(quat) {
  const sine = Math.sqrt(Math.max(0, 1 - quat.w * quat.w));
  const axis = sine < 1e-6 ? new THREE.Vector3(0, 1, 0) : new THREE.Vector3(quat.x, quat.y, quat.z).divideScalar(sine);
  return new THREE.Quaternion().setFromAxisAngle(axis, BOOST * angleByW(quat));
}

/** What the avatar does while nobody speaks: an answer of one pose, played for ever. */
export function startIdle(motion) {
  mixer.stopAllAction();
  idle = mixer.clipAction(makeClip(motion)).setLoop(THREE.LoopRepeat, Infinity).play();
}

/**
 * Fade from idle into the motion, play it once, fade back. Every frame until idle has taken over is watched by the
 * cameras `[{aspect, side}]`. Returns how far inside each picture the head and its crown stay (1: at its centre, below
 * 0: outside), where that was worst, the pose in which the motion ends, and places of `bones` through the motion.
 */
export function perform(motion, cameras, bones = []) {
  const views = cameras.map(({ aspect, side }) => ({ camera: makeCamera(aspect, side), margin: Infinity, at: 0 }));
  const action = mixer.clipAction(makeClip(motion)).reset().setLoop(THREE.LoopOnce, 1).play();
  action.clampWhenFinished = true;
  if (idle) idle.reset().play().crossFadeTo(action, FADE, false);
  else action.fadeIn(FADE);
  let end = null;
  const finish = () => {
    end = 0;
    action.fadeOut(FADE);
    if (idle) idle.reset().fadeIn(FADE).play();
  };
  mixer.addEventListener('finished', finish);
  const places = Object.fromEntries(bones.map((bone) => [bone, []]));
  let last = null;
  for (let time = 0; end === null || end < FADE + 2 * FRAME; time += FRAME) {
    mixer.update(time === 0 ? 0 : FRAME);
    vrm.update(FRAME);
    vrm.scene.updateMatrixWorld(true);
    for (const view of views) watch(view, time);
    if (end === null || end === 0) last = readPose(); // idle has no weight yet
    if (end === null) for (const bone of bones) places[bone].push(place(raw(bone)).toArray());
    if (end !== null) end += FRAME;
  }
  mixer.removeEventListener('finished', finish);
  action.stop();
  mixer.uncacheAction(action.getClip());
  return { views: views.map(({ margin, at }) => ({ margin, at })), last, places };
}

function watch(view, time) {
  for (const point of [place(raw('head')), raw('head').localToWorld(picture.crown.clone())]) {
    const { x, y, z } = point.project(view.camera);
    const margin = Math.abs(z) > 1 ? -Infinity : 1 - Math.max(Math.abs(x), Math.abs(y));
    if (margin < view.margin) Object.assign(view, { margin, at: time });
  }
}

/** Normalised rotations of all bones, and the place of the hips. */
function readPose() {
  const turns = Object.keys(vrm.humanoid.humanBones).map((bone) => [bone, normalised(bone).quaternion.toArray()]);
  return { turns: Object.fromEntries(turns), hips: normalised('hips').position.toArray() };
}

/** World places of bones in the T-pose, before anything is played. */
export function restPlaces(bones) {
  vrm.humanoid.resetNormalizedPose();
  vrm.update(0);
  vrm.scene.updateMatrixWorld(true);
  return Object.fromEntries(bones.map((bone) => [bone, place(raw(bone)).toArray()]));
}
