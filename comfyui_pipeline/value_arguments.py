"""Rows of the table of arguments: what goes into inputs of the workflow, by a role."""

from __future__ import annotations

from comfyui_pipeline.argument_row import (
    FILE,
    FILES,
    IF_EQUAL,
    INTEGER,
    LIST,
    MAX_SEED,
    MAX_SIDE,
    NUMBER,
    ONE,
    RATIO,
    SECONDS,
    SEED,
    SIZE,
    TEXT,
    TEXT_LIST,
    WORKFLOW,
    Argument,
    words,
)

TEXTS: tuple[Argument, ...] = (
    Argument(
        "prompt",
        TEXT,
        "what to show; <lora:name:0.8> in it loads a LoRA, {a|b} becomes one option",
        "正面提示词",
        role="positive_text",
        aliases=words(
            "positive_prompt positive text text_prompt prompt_text user_prompt input_prompt "
            "edit_prompt image_prompt video_prompt music_prompt caption description "
            "instruction instructions query_prompt pos_prompt positive_text text_input 提示词 "
            "提示 正面提示词 正向提示词 正提示词 正面 正向 描述 画面描述 内容 指令 提示文本"
        ),
        placeholders=("POSITIVE_PROMPT", "PROMPT_INPUT", "USER_PROMPT", "PROMPT"),
        node_words=("positive", "positive prompt"),
    ),
    Argument(
        "prompts",
        TEXT_LIST,
        "for a workflow of several prompts (regions, key frames): one each, in order",
        "工作流有多段提示词时，按顺序逐段给出",
        hidden=True,
        aliases=words(
            "prompt_list positive_prompts texts prompt_texts 提示词列表 多段提示词 多个提示词"
        ),
        role="positive_text",
        excludes="prompt",
    ),
    Argument(
        "negative_prompt",
        TEXT,
        "what to avoid",
        "负面提示词",
        keeps_empty=True,
        role="negative_text",
        aliases=words(
            "negative neg_prompt neg negative_text uc exclude avoid undesired "
            "undesired_content 负面提示词 负面 反向提示词 反向 负向提示词 负提示词 负向 排除 "
            "不要"
        ),
        placeholders=("NEGATIVE_PROMPT",),
        optional_placeholder=True,
        node_words=("negative", "negative prompt"),
    ),
    Argument(
        "lyrics",
        TEXT,
        "words of a song",
        "歌词",
        role="any_input",
        aliases=words("lyric song_lyrics 歌词"),
        input_names=("lyrics",),
        input_types=("STRING",),
        placeholders=("LYRICS",),
    ),
    Argument(
        "tags",
        TEXT,
        "style of the music",
        "音乐风格标签",
        role="any_input",
        aliases=words(
            "music_tags style_tags genre genres music_style music_genre 标签 风格标签 曲风 音乐风格"
        ),
        input_names=("tags",),
        input_types=("STRING",),
        placeholders=("TAGS",),
    ),
    Argument(
        "language",
        TEXT,
        "language of the voice",
        "语言",
        role="any_input",
        aliases=words("lang vocal_language voice_language 语言 语种"),
        input_names=("language",),
        input_types=("COMBO", "STRING"),
        placeholders=("LANGUAGE",),
        hidden=True,
    ),
)
SAMPLING: tuple[Argument, ...] = (
    Argument(
        "seed",
        SEED,
        "same seed, same image; random if omitted",
        "种子，不填则随机",
        WORKFLOW,
        aliases=words("noise_seed random_seed rng_seed seed_value 种子 随机种子 随机数种子"),
        low=0,
        high=MAX_SEED,
        field="seed",
        role="seed",
        placeholders=("SEED",),
    ),
    Argument(
        "steps",
        INTEGER,
        "sampling steps",
        "采样步数",
        aliases=words(
            "num_inference_steps inference_steps num_steps sampling_steps step step_count "
            "sample_steps number_of_steps ddim_steps iterations sampler_steps 步数 采样步数 "
            "迭代步数 推理步数"
        ),
        low=1,
        high=10_000,
        role="sampler_input",
        input_names=("steps", "num_steps", "num_inference_steps", "desired_steps"),
        input_types=("INT",),
        placeholders=("STEPS",),
    ),
    Argument(
        "cfg",
        NUMBER,
        "guidance scale",
        "引导系数",
        aliases=words(
            "cfg_scale classifier_free_guidance unconditional_guidance_scale cfg_value "
            "提示词相关性 提示词引导系数"
        ),
        low=0,
        high=1000,
        role="cfg",
        placeholders=("CFG",),
    ),
    Argument(
        "guidance",
        NUMBER,
        "guidance of Flux-like models, else cfg",
        "引导强度",
        aliases=words(
            "guidance_scale distilled_guidance distilled_cfg distilled_cfg_scale "
            "flux_guidance guidance_strength prompt_guidance 引导系数 引导强度 引导 引导比例 "
            "引導系数 引導强度"
        ),
        low=0,
        high=1000,
        role="guidance",
        input_names=("guidance",),
        input_types=("FLOAT",),
        placeholders=("GUIDANCE",),
    ),
    Argument(
        "sampler",
        TEXT,
        "sampler name",
        "采样器",
        aliases=words(
            "sampler_name sampling_method sample_method sampler_index 采样器 采样方法 取样器"
        ),
        role="sampler_input",
        input_names=("sampler_name",),
        input_types=("COMBO",),
        placeholders=("SAMPLER",),
    ),
    Argument(
        "scheduler",
        TEXT,
        "scheduler name",
        "调度器",
        aliases=words("scheduler_name schedule schedule_type noise_schedule 调度器 排程器"),
        role="sampler_input",
        input_names=("scheduler",),
        input_types=("COMBO",),
        placeholders=("SCHEDULER",),
    ),
    Argument(
        "denoise",
        NUMBER,
        "denoising strength",
        "重绘幅度",
        aliases=words(
            "denoising_strength denoise_strength denoising prompt_strength img2img_strength "
            "denoise_level redraw_strength transformation_strength variation_strength "
            "重绘幅度 重绘强度 去噪强度 降噪强度 降噪 去噪 重绘"
        ),
        low=0,
        high=1,
        unit="",
        role="sampler_input",
        input_names=("denoise",),
        input_types=("FLOAT",),
        placeholders=("DENOISE",),
    ),
    Argument(
        "clip_skip",
        INTEGER,
        "last CLIP layers that are left out",
        "CLIP 跳过层数",
        hidden=True,
        aliases=words("clip_stop_at_last_layers clip_layer skip_clip 跳过层"),
        low=-24,
        high=24,
        role="any_input",
        input_names=("stop_at_clip_layer",),
        input_types=("INT",),
        placeholders=("CLIP_SKIP",),
    ),
)
SIZES: tuple[Argument, ...] = (
    Argument(
        "width",
        INTEGER,
        "image width",
        "宽度",
        aliases=words("w image_width output_width width_px target_width 宽度 宽 图片宽度"),
        low=1,
        high=MAX_SIDE,
        unit="px",
        role="size_request",
        input_names=("width",),
        targets=IF_EQUAL,
        placeholders=("WIDTH",),
        node_words=("size", "latent"),
    ),
    Argument(
        "height",
        INTEGER,
        "image height",
        "高度",
        aliases=words("h image_height output_height height_px target_height 高度 高 图片高度"),
        low=1,
        high=MAX_SIDE,
        unit="px",
        role="size_request",
        input_names=("height",),
        targets=IF_EQUAL,
        placeholders=("HEIGHT",),
    ),
    Argument(
        "size",
        SIZE,
        "512x768, portrait, 1080p",
        "尺寸，如 512x768、竖图",
        common_word=True,
        aliases=words(
            "resolution image_size dimensions dimension output_size img_size picture_size "
            "video_size output_resolution target_size orientation megapixels canvas_size "
            "image_dimensions wh 尺寸 分辨率 大小 图片尺寸 图片大小 画幅 解析度 构图 方向 "
            "清晰度"
        ),
        role="size_request",
    ),
    Argument(
        "aspect_ratio",
        RATIO,
        "16:9, keeps the area",
        "宽高比，面积不变",
        common_word=True,
        aliases=words(
            "ratio aspect ar image_ratio size_ratio proportions 宽高比 长宽比 比例 画面比例 "
            "图片比例 纵横比"
        ),
        role="size_request",
    ),
    Argument(
        "scale",
        NUMBER,
        "factor, 2 doubles both sides",
        "放大倍数",
        common_word=True,
        aliases=words(
            "scale_by upscale upscale_by upscale_factor scale_factor factor enlarge "
            "resize_factor outscale magnification scaling upscale_scale rescale_factor zoom "
            "放大倍数 倍数 倍率 缩放 缩放比例 放大 放大倍率"
        ),
        low=0.01,
        high=64,
        unit="x",
        role="size_request",
        input_names=("scale_by", "upscale_by"),
        input_types=("FLOAT",),
        placeholders=("SCALE",),
    ),
    Argument(
        "batch_size",
        INTEGER,
        "number of images",
        "张数",
        aliases=words(
            "n count num num_images num_outputs number_of_images n_images image_count "
            "images_count num_images_per_prompt number_of_outputs batch batch_count quantity "
            "n_iter sample_count num_samples n_samples how_many variations num_variations "
            "max_images num_image number_of_results candidate_count 数量 张数 张 生成数量 "
            "图片数量 出图数量 几张 批次 批量 批次大小 批次数量"
        ),
        low=1,
        high=4096,
        role="batch_size",
        placeholders=("BATCH_SIZE",),
    ),
    Argument(
        "duration",
        SECONDS,
        "length of a clip or song in seconds",
        "时长（秒）",
        common_word=True,
        aliases=words(
            "seconds duration_seconds length_seconds video_length video_duration audio_length "
            "audio_duration duration_s secs sec total_duration clip_length clip_duration "
            "music_length song_length audio_length_in_s seconds_total 时长 秒数 秒 视频时长 "
            "音频时长 持续时间 时间 长度 影片长度"
        ),
        low=0.01,
        high=86_400,
        unit="s",
        role="duration",
        placeholders=("DURATION",),
    ),
    Argument(
        "frames",
        INTEGER,
        "number of frames",
        "帧数",
        common_word=True,
        aliases=words(
            "num_frames frame_count number_of_frames n_frames total_frames video_frames "
            "length frame_num max_frames frames_number 帧数 总帧数 影格数"
        ),
        low=1,
        high=100_000,
        role="frames",
        placeholders=("FRAMES",),
        hidden=True,
    ),
    Argument(
        "fps",
        NUMBER,
        "frames per second",
        "帧率",
        common_word=True,
        aliases=words("frame_rate frames_per_second video_fps output_fps 帧率 每秒帧数"),
        low=0.01,
        high=1000,
        role="fps",
        input_names=("fps", "frame_rate"),
        input_types=("INT", "FLOAT"),
        placeholders=("FPS",),
    ),
)
MODELS: tuple[Argument, ...] = (
    Argument(
        "checkpoint",
        TEXT,
        "model name without folder and extension",
        "大模型",
        aliases=words(
            "model model_name ckpt ckpt_name base_model sd_model sd_model_checkpoint model_id "
            "checkpoint_name unet unet_name diffusion_model model_path sd_checkpoint "
            "model_file 模型 大模型 底模 主模型 模型名称 模型名 基础模型 大模型名称 基礎模型"
        ),
        role="model",
        targets=IF_EQUAL,
        placeholders=("MODEL", "CHECKPOINT"),
        node_words=("model",),
    ),
    Argument(
        "vae",
        TEXT,
        "VAE name",
        "VAE 名称",
        role="vae",
        aliases=words("vae_name vae_model sd_vae VAE模型"),
        targets=IF_EQUAL,
        placeholders=("VAE",),
        hidden=True,
    ),
    Argument(
        "loras",
        LIST,
        "name or name:strength, comma-separated",
        "LoRA 名称，可加 :强度，逗号分隔",
        numbered=True,
        aliases=words(
            "lora lora_name lora_names lora_model lora_models lora_list lora_file lora_url "
            "lora_path lora模型 lora名称"
        ),
        role="lora",
        placeholders=("LORAS",),
        optional_placeholder=True,
        node_words=("lora",),
    ),
    Argument(
        "lora_strength",
        NUMBER,
        "strength of the LoRA",
        "LoRA 强度",
        aliases=words(
            "lora_weight lora_scale lora_strength_model strength_model lora_strengths "
            "lora_weights lora强度 lora权重"
        ),
        low=-100,
        high=100,
        role="lora_strength",
        input_names=("strength_model",),
        input_types=("FLOAT",),
        placeholders=("LORA_STRENGTH",),
        hidden=True,
    ),
    Argument(
        "controlnet",
        TEXT,
        "ControlNet model",
        "ControlNet 模型",
        hidden=True,
        aliases=words(
            "controlnet_model control_net_name control_model cn_model controlnet模型 控制网络"
        ),
        role="any_input",
        input_names=("control_net_name",),
        input_types=("COMBO",),
        targets=IF_EQUAL,
        placeholders=("CONTROLNET",),
    ),
    Argument(
        "upscale_model",
        TEXT,
        "upscale model",
        "放大模型",
        hidden=True,
        aliases=words(
            "upscaler upscale_model_name upscaler_name hr_upscaler esrgan_model 放大模型 放大算法"
        ),
        role="any_input",
        input_names=("model_name",),
        input_types=("COMBO",),
        targets=IF_EQUAL,
        placeholders=("UPSCALE_MODEL",),
    ),
)
FILE_INPUTS: tuple[Argument, ...] = (
    Argument(
        "image",
        FILE,
        "URL, data: URI, file:// path or attachment name",
        "输入图片",
        aliases=words(
            "image_url image_base64 image_path image_file init_image input_image source_image "
            "base_image img img_url pic picture photo picture_url photo_url image_input "
            "image_data image_uri image_b64 base64_image init_img original_image "
            "reference_image ref_image reference ref img_base64 img_path initial_image "
            "content_image input_image_url init_image_url reference_image_url ref_img "
            "image_prompt_url subject_image attachment image_name 图片 图像 图 输入图片 原图 "
            "底图 参考图 参考图片 图片地址 图片链接 照片 附件 源图 垫图 图片连结"
        ),
        role="image",
        targets=ONE,
        placeholders=("IMAGE",),
    ),
    Argument(
        "images",
        FILES,
        "several input images, in order",
        "多张，按顺序",
        numbered=True,
        aliases=words(
            "image_urls input_images reference_images ref_images image_list image_inputs "
            "pictures photos image_paths image_files source_images imgs init_images "
            "references attachments files reference_image_urls images_base64 input_image_urls "
            "多张图片 图片列表 参考图列表 多图 图片们"
        ),
        role="image",
        excludes="image",
    ),
    Argument(
        "mask",
        FILE,
        "given like image; white or opaque areas are repainted",
        "遮罩，白色或不透明的区域会被重绘",
        aliases=words(
            "mask_image mask_url mask_base64 mask_path mask_file inpaint_mask image_mask "
            "mask_img mask_image_url mask_b64 遮罩 蒙版 掩码 掩膜 遮罩图 蒙版图 重绘区域"
        ),
        role="mask",
        targets=ONE,
        placeholders=("MASK",),
    ),
    Argument(
        "start_image",
        FILE,
        "first frame of a video",
        "首帧",
        aliases=words(
            "start_frame first_frame first_frame_image first_frame_url first_image "
            "start_frame_image starting_image starting_frame image_start head_image "
            "start_image_url first_image_url start_frame_url image_head head_frame "
            "begin_image start_img 首帧 首帧图 首帧图片 起始图 起始帧 开始图 第一帧"
        ),
        role="start_image",
        targets=ONE,
        placeholders=("START_IMAGE",),
    ),
    Argument(
        "end_image",
        FILE,
        "last frame of a video",
        "尾帧",
        aliases=words(
            "end_frame last_frame last_frame_image last_frame_url last_image end_frame_image "
            "ending_image ending_frame image_end tail_image end_image_url last_image_url "
            "end_frame_url image_tail tail_frame final_frame final_image end_img 尾帧 尾帧图 "
            "尾帧图片 结束图 结束帧 末帧 最后一帧"
        ),
        role="end_image",
        targets=ONE,
        placeholders=("END_IMAGE",),
    ),
    Argument(
        "control_image",
        FILE,
        "image for ControlNet",
        "控制图",
        hidden=True,
        aliases=words(
            "controlnet_image cn_image pose_image depth_image canny_image lineart "
            "lineart_image sketch sketch_image conditioning_image hint_image scribble_image "
            "control_image_url edge_image controlnet_input_image pose depth_map 线稿 控制图 "
            "姿势图 深度图 骨架图 草图"
        ),
        role="control_image",
        targets=ONE,
        placeholders=("CONTROL_IMAGE",),
    ),
    Argument(
        "video",
        FILE,
        "input video, given like image",
        "输入视频",
        common_word=True,
        aliases=words(
            "video_url input_video source_video init_video reference_video video_path "
            "video_file video_base64 video_input driving_video input_video_url video_uri 视频 "
            "输入视频 参考视频 原视频 影片"
        ),
        role="video",
        targets=ONE,
        placeholders=("VIDEO",),
    ),
    Argument(
        "audio",
        FILE,
        "input audio, given like image",
        "输入音频",
        common_word=True,
        aliases=words(
            "audio_url input_audio source_audio reference_audio audio_path audio_file "
            "audio_base64 audio_input sound sound_file speech voice_file music_file "
            "input_audio_url audio_uri reference_voice driving_audio wav mp3 音频 输入音频 "
            "声音 参考音频 配音 音讯"
        ),
        role="audio",
        targets=ONE,
        placeholders=("AUDIO",),
    ),
    Argument(
        "strength",
        NUMBER,
        "ControlNet strength",
        "控制强度",
        aliases=words(
            "controlnet_strength control_strength controlnet_conditioning_scale "
            "conditioning_scale control_weight controlnet_weight controlnet_scale "
            "control_scale 控制强度 强度 控制权重"
        ),
        low=-100,
        high=100,
        role="control_strength",
        placeholders=("STRENGTH",),
        node_words=("controlnet",),
    ),
)
ROWS = (*TEXTS, *SAMPLING, *SIZES, *MODELS, *FILE_INPUTS)
