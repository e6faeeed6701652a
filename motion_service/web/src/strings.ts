// Every text of the page, English and Japanese side by side. The browser's language chooses; `?lang=` may say otherwise.
const TABLE = {
  "brand": ["Motion", "モーション"],
  "skip": ["Skip to the content", "本文へ"],
  "nav.label": ["Views", "表示の切り替え"],
  "nav.generate": ["Generate", "生成"],
  "nav.live": ["Live", "ライブ"],
  "nav.compare": ["Compare", "比較"],
  "nav.judge": ["Judge", "評価"],
  "nav.health": ["Health", "状態"],
  "state.open": ["connected", "接続中"],
  "state.connecting": ["connecting …", "接続しています…"],
  "state.lost": ["not connected, trying again …", "切断されました。再接続しています…"],
  "foot.licences": ["Licences", "ライセンス"],
  "error.title": ["That did not work", "うまくいきませんでした"],
  "error.network": ["The service does not answer.", "サービスが応答しません。"],
  "close": ["Close", "閉じる"],
  "cancel": ["Cancel", "中止"],
  "copy": ["Copy", "コピー"],
  "copied": ["Copied", "コピーしました"],
  "key.title": ["This service needs a key", "このサービスには鍵が必要です"],
  "key.text": ["It is kept until this tab is closed and sent to this service only.", "このタブを閉じるまで保持され、このサービスにだけ送られます。"],
  "key.label": ["API key", "API キー"],
  "key.send": ["Continue", "続ける"],

  "stage.label": ["Avatar", "アバター"],
  "stage.keys": ["Arrow keys turn the view, + and − zoom, 0 resets it.", "矢印キーで視点を回し、+ と − で拡大縮小、0 で元に戻します。"],
  "stage.none": ["This browser shows no 3D graphics (WebGL).", "このブラウザは 3D 表示(WebGL)に対応していません。"],
  "stage.empty": ["Describe a motion, and watch it here.", "動きを言葉で入力すると、ここに表示されます。"],
  "stage.reset": ["Reset the view", "視点を戻す"],
  "avatar.label": ["Avatar", "アバター"],
  "avatar.mannequin": ["Mannequin", "マネキン"],
  "avatar.choose": ["Use a .vrm …", ".vrm を使う…"],
  "avatar.back": ["Back to the mannequin", "マネキンに戻す"],
  "avatar.drop": ["Drop the .vrm here", ".vrm をここにドロップ"],
  "avatar.loading": ["Reading the avatar …", "アバターを読み込んでいます…"],
  "avatar.failed": ["This file cannot be used as an avatar", "このファイルはアバターとして使えません"],

  "form.prompt": ["What should the avatar do?", "どんな動きにしますか?"],
  "form.placeholder": ["waves happily with the right hand", "元気に右手を振る"],
  "form.examples": ["Examples", "例"],
  "form.generate": ["Generate", "生成"],
  "form.provider": ["Engine", "エンジン"],
  "form.auto": ["automatic", "自動"],
  "form.seconds": ["Seconds", "秒数"],
  "form.fromPrompt": ["as said", "文から"],
  "form.seed": ["Seed", "シード"],
  "form.random": ["random", "ランダム"],
  "form.guidance": ["Guidance", "ガイダンス"],
  "form.steps": ["Steps", "ステップ数"],
  "form.fps": ["Frames a second", "フレーム/秒"],
  "form.own": ["model's own", "モデルの既定"],
  "form.more": ["More options", "詳しい設定"],
  "form.interpolate": ["Resample to these frames", "このフレームレートに補間する"],
  "form.root": ["Travel", "移動"],
  "form.root.free": ["free", "自由"],
  "form.root.bounded": ["stays within 0.3 m", "0.3 m 以内"],
  "form.root.in_place": ["on the spot", "その場"],
  "form.settle": ["Ends in a neutral stand", "最後は自然な立ち姿にする"],
  "form.footLock": ["Standing feet are held", "立っている足を固定する"],
  "form.expressions": ["Blinking, gaze, fingers, mood", "まばたき・視線・指・表情"],
  "form.loop": ["End leads into the start", "終わりを始まりにつなげる"],

  "wait.queued": ["Waiting: {count} before this one", "順番待ち: あと {count} 件"],
  "wait.next": ["Waiting for the model", "モデルの順番を待っています"],
  "wait.step": ["Step {done} of {steps}", "ステップ {done} / {steps}"],
  "wait.finish": ["Fitting the avatar, writing files", "アバターに合わせ、ファイルを書いています"],
  "result.took": ["made in {ms} ms", "{ms} ms で生成"],
  "result.seed": ["seed {seed}", "シード {seed}"],
  "result.steps": ["{steps} steps", "{steps} ステップ"],
  "result.guidance": ["guidance {guidance}", "ガイダンス {guidance}"],
  "result.warnings": ["Warnings", "注意"],
  "result.link": ["Copy the link", "リンクをコピー"],
  "result.again": ["Another seed", "別のシード"],
  "placeholder.title": ["Not made by a model", "モデルの動きではありません"],
  "placeholder.text": ["A calm standing figure stands in for it.", "代わりに静かに立つ動きを表示しています。"],
  "placeholder.reason": ["Reason: {reason}", "理由: {reason}"],
  "reason.requested": ["the placeholder was asked for", "プレースホルダーが指定されました"],
  "reason.not-loaded": ["this engine is not loaded", "このエンジンは読み込まれていません"],
  "reason.deadline": ["the deadline passed before the motion was ready", "期限までに動きができませんでした"],
  "reason.generation-failed": ["the model failed", "モデルが失敗しました"],
  "reason.non-finite": ["the model returned numbers that make no pose", "モデルの出力が姿勢になりませんでした"],

  "play": ["Play", "再生"],
  "pause": ["Pause", "一時停止"],
  "scrub": ["Time", "時間"],
  "speed": ["Speed", "速さ"],
  "loop": ["Loop", "繰り返す"],
  "smooth": ["Smooth", "なめらか"],
  "overlay.skeleton": ["Skeleton", "骨格"],
  "overlay.contacts": ["Feet on the floor", "接地"],
  "overlay.path": ["Path", "軌跡"],
  "transport.frame": ["frame {frame} of {count}, {fps} a second", "フレーム {frame} / {count}、毎秒 {fps}"],

  "plan.title": ["What was understood", "読み取った内容"],
  "plan.none": ["no bodily action: calm talking", "動作の指定なし: 静かに話す動き"],
  "plan.unknown": ["unknown action", "不明な動作"],
  "plan.idle": ["idle", "待機"],
  "judge.quality": ["Quality", "品質"],
  "judge.reference": ["Grey: the middle 90 % of {clips} recorded clips; the line is their median.", "灰色: 記録された {clips} クリップの中央 90 %。線は中央値。"],
  "judge.inside": ["as recorded motion", "実際の動きの範囲内"],
  "judge.outside": ["unlike recorded motion", "実際の動きの範囲外"],
  "judge.plots": ["Over time", "時間変化"],
  "judge.metadata": ["Metadata", "メタデータ"],
  "judge.downloads": ["Files", "ファイル"],
  "judge.jobs": ["Recent jobs", "最近のジョブ"],
  "judge.noJobs": ["Nothing was made yet.", "まだ何も生成されていません。"],
  "judge.pick": ["Pick a job to judge it.", "ジョブを選ぶと評価を表示します。"],
  "judge.forgotten": ["There is no such job any more.", "このジョブはもうありません。"],
  "job.running": ["being made", "生成中"],
  "job.failed": ["failed", "失敗"],
  "file.pending": ["being made", "作成中"],
  "file.failed": ["could not be made", "作成できませんでした"],
  "file.vrm-json": ["VRM JSON", "VRM JSON"],
  "file.vrma": ["VRM animation", "VRM アニメーション"],
  "file.bvh": ["BVH", "BVH"],
  "file.npy": ["results.npy", "results.npy"],
  "file.mp4": ["Video", "動画"],
  "file.smpl": ["SMPL parameters", "SMPL パラメータ"],
  "file.hik": ["HumanIK", "HumanIK"],
  "quality.skate_cm_s": ["Foot skate", "足の滑り"],
  "quality.low_share": ["Toes near the floor", "つま先が床の近くにある割合"],
  "quality.penetration_cm": ["Below the floor", "床へのめり込み"],
  "quality.float_cm": ["Above the floor", "床からの浮き"],
  "quality.jitter_m_s3": ["Jerk", "躍度(ジャーク)"],
  "quality.plant_share": ["A foot is planted", "足がついている割合"],
  "quality.hinge_share": ["Elbows and knees bend right", "肘と膝の正しい曲がり"],
  "plot.height": ["Foot height", "足の高さ"],
  "plot.speed": ["Foot speed", "足の速さ"],
  "plot.jerk": ["Jerk", "躍度"],
  "plot.left": ["left", "左"],
  "plot.right": ["right", "右"],
  "plot.contact": ["on the floor", "接地"],
  "plot.seek": ["Click to go there", "クリックでその時点へ"],

  "live.start": ["Start", "開始"],
  "live.stop": ["Stop", "停止"],
  "live.prompt": ["What next?", "次は何をしますか?"],
  "live.placeholder": ["walks forward", "前に歩く"],
  "live.send": ["Send", "送る"],
  "live.idle": ["Idle", "待機"],
  "live.hint": ["The motion has no end. Say something, and it follows.", "動きに終わりはありません。言葉を送ると従います。"],
  "live.reaction": ["Enter to motion", "送信から動きまで"],
  "live.lead": ["Buffer", "先読み"],
  "live.dropped": ["Frames dropped", "落ちたフレーム"],
  "live.held": ["Held", "待った時間"],
  "live.frame": ["Frame", "フレーム"],
  "live.revision": ["Revision", "リビジョン"],
  "live.state.connecting": ["connecting …", "接続しています…"],
  "live.state.running": ["live", "ライブ"],
  "live.state.lost": ["lost, taking it up again …", "切れました。再開しています…"],
  "live.state.ended": ["not running", "停止中"],
  "live.history": ["Said so far", "これまでの指示"],
  "live.waiting": ["on its way …", "反映待ち…"],

  "compare.a": ["Left", "左"],
  "compare.b": ["Right", "右"],
  "compare.run": ["Compare", "比較"],
  "compare.hint": ["The same words twice: two engines, or two seeds. They play in step.", "同じ文を二つのエンジン、または二つのシードで。同時に再生します。"],

  "health.engines": ["Engines", "エンジン"],
  "health.device": ["Device", "デバイス"],
  "health.queue": ["Queue", "待ち行列"],
  "health.times": ["Times of the latest answers", "最近の応答の時間"],
  "health.streams": ["Streams", "ストリーム"],
  "health.refusals": ["Refused", "拒否"],
  "health.events": ["As it happens", "できごと"],
  "health.bench": ["Benchmark", "ベンチマーク"],
  "health.benchText": ["A clip of 5 s on every loaded engine, with all its steps and with ten.", "読み込まれた各エンジンで 5 秒のクリップを、全ステップと 10 ステップで測ります。"],
  "health.benchRun": ["Run it", "測定する"],
  "health.benchRunning": ["{done} of {of} engines …", "{of} エンジン中 {done}…"],
  "health.benchNever": ["Not run on this machine yet.", "このマシンではまだ測定されていません。"],
  "health.benchAt": ["{at}, {device}", "{at}、{device}"],
  "health.none": ["none", "なし"],
  "health.noEngines": ["No engine tells how it runs.", "エンジンの情報はありません。"],
  "health.placeholder": ["placeholder", "プレースホルダー"],
  "health.inside": ["inside", "受付中"],
  "health.waiting": ["waiting", "待ち"],
  "health.done": ["done", "完了"],
  "health.failed": ["failed", "失敗"],
  "health.placeholders": ["placeholders", "代替"],
  "health.uptime": ["up for", "稼働時間"],
  "health.width": ["clips a step", "同時クリップ数"],
  "health.batches": ["Clips in a batch", "バッチの大きさ"],
  "health.hits": ["graph hits", "グラフ使用"],
  "health.memory": ["Memory", "メモリ"],
  "health.gpu": ["GPU, models", "GPU(モデル)"],
  "health.gpuFree": ["GPU, free", "GPU(空き)"],
  "health.process": ["process", "プロセス"],
  "health.cores": ["cores", "コア"],
  "health.stage": ["Stage", "段階"],
  "health.median": ["median", "中央値"],
  "health.p95": ["95 %", "95 %"],
  "health.count": ["answers", "応答数"],
  "health.quiet": ["Nothing happened yet.", "まだ何もありません。"],
  "health.engine": ["Engine", "エンジン"],
  "health.how": ["runs as", "方式"],
  "health.realtime": ["× real time", "実時間比"],
  "health.late": ["late", "遅れ"],
  "health.generator": ["engine", "エンジン"],
  "stage.plan": ["reading the prompt", "文の読み取り"],
  "stage.text": ["text encoder", "文の符号化"],
  "stage.sample": ["denoising", "ノイズ除去"],
  "stage.queue": ["waiting", "待ち"],
  "stage.generate": ["model in all", "モデル全体"],
  "stage.decode": ["decoding", "復元"],
  "stage.finish": ["fitting, files", "適合とファイル"],
  "stage.total": ["total", "合計"],
  "event.job_queued": ["waits, {position} before it", "待機中、前に {position} 件"],
  "event.job_step": ["step {done} of {steps}", "ステップ {done} / {steps}"],
  "event.job_done": ["done: {generator}, {seconds} s at {fps} fps", "完了: {generator}、{seconds} 秒、{fps} fps"],
  "event.job_failed": ["failed: {problem}", "失敗: {problem}"],
  "event.missed": ["{count} events were dropped", "{count} 件のできごとが省かれました"],
} as const satisfies Record<string, readonly [string, string]>;

export type Key = keyof typeof TABLE;

export type Language = "en" | "ja";

/** What the browser asks for first, of the two that there are. */
export function chooseLanguage(asked: string | null, browser: readonly string[]): Language {
  const first = [asked, ...browser].find((tag) => /^(en|ja)\b/i.test(tag ?? ""));
  return first?.toLowerCase().startsWith("ja") ? "ja" : "en";
}

export const language = chooseLanguage(new URLSearchParams(location.search).get("lang"), navigator.languages);

/** The text, with {names} filled in. */
export function t(key: Key, values: Readonly<Record<string, string | number>> = {}): string {
  const text = TABLE[key][language === "ja" ? 1 : 0];
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

/** The text for a name that the service made up, or the name itself. */
export const tOr = (key: string, name: string): string => (key in TABLE ? t(key as Key) : name);

const number = new Map<number, Intl.NumberFormat>();

/** A number as people of this language write it. */
export function n(value: number, digits = 0): string {
  let format = number.get(digits);
  if (!format) number.set(digits, (format = new Intl.NumberFormat(language, { maximumFractionDigits: digits })));
  return format.format(value);
}

const ACTIONS_JA: Readonly<Record<string, string>> = {
  walk: "歩く", run: "走る", jump: "跳ぶ", turn: "曲がる", sit: "座る", "stand-up": "立ち上がる", crouch: "しゃがむ", crawl: "這う",
  climb: "登る", swim: "泳ぐ", dance: "踊る", wave: "手を振る", raise: "挙げる", bow: "お辞儀", salute: "敬礼", guide: "案内",
  call: "呼ぶ", point: "指す", clap: "拍手", nod: "うなずく", "shake-head": "首を振る", shrug: "肩をすくめる", think: "考える",
  laugh: "笑う", cry: "泣く", talk: "話す", idle: "待機", kick: "蹴る", punch: "殴る", slash: "斬る", aim: "狙う", throw: "投げる",
  catch: "受け取る", push: "押す", pull: "引く", "pick-up": "拾う", drink: "飲む", eat: "食べる", wash: "洗う", drive: "運転",
  cartwheel: "側転", flip: "宙返り", roll: "転がる", fall: "倒れる", stretch: "伸びる", look: "見る", hug: "抱きしめる", cheer: "喜ぶ",
  left: "左", right: "右", both: "両方", forward: "前", backward: "後ろ",
};

/** An action or direction as the service names it. */
export const actionName = (name: string): string => (language === "ja" ? (ACTIONS_JA[name] ?? name) : name);

const EXAMPLES: Record<Language, readonly string[]> = {
  en: ["waves happily with the right hand", "walks forward, then bows deeply", "raises both hands and dances", "points to the left"],
  ja: ["元気に右手を振る", "前に歩いてから深くお辞儀する", "両手を上げて踊る", "こちらへどうぞと案内する"],
};

export const examples = EXAMPLES[language];
