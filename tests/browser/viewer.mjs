// Plays motion on a VRM avatar in every way that clients do, and tells where three-vrm puts its bones.
import * as THREE from 'three';
import { BVHLoader } from 'three/addons/loaders/BVHLoader.js';
import { GLTFLoader } from 'three/addons/loaders/GLTFLoader.js';
import { VRMLoaderPlugin } from '@pixiv/three-vrm';
import {
  VRMAnimationLoaderPlugin,
  VRMLookAtQuaternionProxy,
  createVRMAnimationClip,
} from '@pixiv/three-vrm-animation';
import { newPicture } from './picture.mjs';

let vrm;
let mixer;
let action;

/** Show the avatar at `url`; returns the VRM version of the file and its bones. */
export async function loadAvatar(url) {
  const loader = new GLTFLoader().register((parser) => new VRMLoaderPlugin(parser));
  vrm = (await loader.loadAsync(url)).userData.vrm;
  vrm.scene.traverse((object) => {
    object.frustumCulled = false;
  });
  if (vrm.lookAt) {
    const proxy = new VRMLookAtQuaternionProxy(vrm.lookAt); // what gaze tracks of a VRMA act on
    proxy.name = 'lookAtProxy';
    vrm.scene.add(proxy);
  }
  mixer = new THREE.AnimationMixer(vrm.scene);
  return { version: vrm.meta.metaVersion, bones: Object.keys(vrm.humanoid.humanBones) };
}

function play(name, seconds, tracks) {
  mixer.stopAllAction();
  vrm.humanoid.resetNormalizedPose();
  action = mixer.clipAction(new THREE.AnimationClip(name, seconds, tracks));
  action.setLoop(THREE.LoopOnce, 1);
  action.clampWhenFinished = true;
  return tracks.length;
}

/** Keyframes of the JSON answer straight onto the normalised bones, the place straight onto the hips. */
export function playJson(motion) {
  const tracks = [];
  for (const [bone, keys] of Object.entries(motion.tracks)) {
    const node = vrm.humanoid.getNormalizedBoneNode(bone);
    if (node === null) continue;
    const times = keys.map((key) => key.t);
    const values = keys.flatMap((key) => [key.x, key.y, key.z, key.w]);
    tracks.push(new THREE.QuaternionKeyframeTrack(`${node.name}.quaternion`, times, values));
  }
  const hips = vrm.humanoid.getNormalizedBoneNode('hips');
  const times = motion.rootPosition.map((key) => key.t);
  const values = motion.rootPosition.flatMap((key) => [key.x, key.y, key.z]);
  tracks.push(new THREE.VectorKeyframeTrack(`${hips.name}.position`, times, values));
  return play('json', motion.duration_sec, tracks);
}

/** A VRMA file by its specification. */
export async function playVrma(url) {
  const animation = await loadVrma(url);
  const clip = createVRMAnimationClip(animation, vrm);
  return play('vrma', clip.duration, clip.tracks);
}

/** A VRMA file as plain glTF: node names are bone names, rest pose and extension are not looked at. */
export async function playNodeNames(url) {
  const [clip] = (await new GLTFLoader().loadAsync(url)).animations;
  const tracks = [];
  for (const track of clip.tracks) {
    const { nodeName, propertyName } = THREE.PropertyBinding.parseTrackName(track.name);
    const node = vrm.humanoid.getNormalizedBoneNode(nodeName);
    const wanted = propertyName === 'quaternion' || (propertyName === 'position' && nodeName === 'hips');
    if (node === null || !wanted) continue;
    const copy = track.clone();
    copy.name = `${node.name}.${propertyName}`;
    tracks.push(copy);
  }
  return play('node names', clip.duration, tracks);
}

/** World position of every raw bone, in metres, at the given seconds: {bone: [[x, y, z], ..]}. */
export function samplePlaces(seconds) {
  const places = {};
  const point = new THREE.Vector3();
  for (const time of seconds) {
    showPose(time);
    for (const bone of Object.keys(vrm.humanoid.humanBones)) {
      (places[bone] ??= []).push(vrm.humanoid.getRawBoneNode(bone).getWorldPosition(point).toArray());
    }
  }
  return places;
}

function showPose(time) {
  action.reset().play();
  mixer.setTime(time);
  vrm.update(0);
  vrm.scene.updateMatrixWorld(true);
}

/**
 * What the assistant's viewer does to small motion: a track whose largest 2 acos(w) is below 8 degrees is turned four
 * times as far in every frame.
 */
export function boostSmallTracks(motion) {
  const clamp = (w) => Math.min(1, Math.max(-1, w));
  const boosted = Object.entries(motion.tracks).map(([bone, keys]) => {
    const widest = Math.max(...keys.map((key) => THREE.MathUtils.radToDeg(2 * Math.acos(clamp(key.w)))));
    return [bone, widest < 8 ? keys.map(turnFourTimes) : keys];
  });
  return { ...motion, tracks: Object.fromEntries(boosted) };
}

function turnFourTimes({ t, x, y, z, w }) {
  const half = Math.acos(Math.min(1, Math.max(-1, w)));
  const sine = Math.sin(half);
  if (sine < 1e-6) return { t, x, y, z, w };
  const stretch = Math.sin(4 * half) / sine;
  return { t, x: x * stretch, y: y * stretch, z: z * stretch, w: Math.cos(4 * half) };
}

async function loadVrma(url) {
  const loader = new GLTFLoader().register((parser) => new VRMAnimationLoaderPlugin(parser));
  return (await loader.loadAsync(url)).userData.vrmAnimations[0];
}

/** World position of every joint of a BVH text at the given seconds, in the file's unit: {joint: [[x, y, z], ..]}. */
export function sampleBvh(text, seconds) {
  const { skeleton, clip } = new BVHLoader().parse(text);
  const [root] = skeleton.bones;
  const player = new THREE.AnimationMixer(root);
  const motion = player.clipAction(clip).setLoop(THREE.LoopOnce, 1);
  motion.clampWhenFinished = true;
  const places = {};
  for (const time of seconds) {
    motion.reset().play();
    player.setTime(time);
    root.updateMatrixWorld(true);
    for (const bone of skeleton.bones) {
      (places[bone.name] ??= []).push(bone.getWorldPosition(new THREE.Vector3()).toArray());
    }
  }
  return places;
}

/** Weights of expressions and gaze of a VRMA file as three-vrm-animation reads them; gaze in degrees per key. */
export async function readFace(url) {
  const animation = await loadVrma(url);
  const weights = (tracks) => Object.fromEntries([...tracks].map(([name, track]) => [name, Array.from(track.values)]));
  const look = { yaw: 0, pitch: 0 };
  const proxy = new VRMLookAtQuaternionProxy(look);
  const quats = animation.lookAtTrack.values;
  const gaze = [];
  for (let i = 0; i < quats.length; i += 4) {
    proxy.quaternion.fromArray(quats, i);
    gaze.push([look.yaw, look.pitch]);
  }
  const { preset, custom } = animation.expressionTracks;
  return { preset: weights(preset), custom: weights(custom), gaze };
}

/** A picture of the pose at `time` from 3 m in front (negative distance: from behind), as a PNG data URL. */
export function drawPose(time, distance) {
  const picture = newPicture(vrm, distance);
  showPose(time);
  picture.draw();
  return picture.canvas.toDataURL('image/png');
}
