"""Rows of the table of arguments: which command, which workflow, and how the call is performed."""

from __future__ import annotations

from comfyui_pipeline.argument_row import (
    CHOICE,
    COMMAND,
    EVERY,
    INTEGER,
    JOB,
    JSON,
    LIST,
    MAX_SIDE,
    NODES,
    OUTPUTS,
    PARAMS,
    QUESTION,
    RUN,
    SECONDS,
    SWITCH,
    TEXT,
    WAIT,
    WORKFLOW,
    Argument,
    words,
)

WHAT: tuple[Argument, ...] = (
    Argument(
        "command",
        COMMAND,
        "run if omitted",
        "不填则为 run",
        EVERY,
        hidden=True,
        aliases=words("action cmd operation 命令 操作 动作 指令名"),
        field="command",
    ),
    Argument(
        "workflow",
        TEXT,
        "name or purpose, or a ComfyUI image with its workflow inside",
        "工作流名称或用途",
        WORKFLOW,
        "文生图 text2img_api，图生图 img2img_api，局部重绘 inpaint_api，线稿控制 controlnet_canny_api，"
        "放大 upscale_api；不需要模型 (no model needed): resize_image, invert_image, blur_image, "
        "outpaint_canvas, blend_images, paste_with_mask; others: info workflows",
        required=True,
        aliases=words(
            "workflow_name workflow_path workflow_file workflow_id workflow_url template "
            "template_name flow pipeline 工作流 工作流名称 工作流名 模板 流程 工作流程"
        ),
        field="workflow",
    ),
    Argument(
        "workflow_json",
        JSON,
        "the workflow itself instead of a name",
        "直接给出工作流 JSON",
        WORKFLOW,
        hidden=True,
        excludes="workflow",
        aliases=words(
            "workflow_data workflow_api prompt_json api_json workflow_content 工作流JSON"
        ),
        field="workflow_json",
    ),
)
HOW: tuple[Argument, ...] = (
    Argument(
        "params",
        PARAMS,
        'any other input, as a JSON list: [{"node_title":"Sampler","inputs":{"steps":30}}]; or node_id '
        "instead of node_title",
        "其他任意输入，JSON 列表，也可用 node_id",
        aliases=words("node_params node_inputs 节点参数"),
        field="params",
    ),
    Argument(
        "all",
        SWITCH,
        "true: a params entry changes every node with that title",
        "true 时 params 修改所有同名节点",
        hidden=True,
        field="all_titled",
    ),
    Argument(
        "lora_nodes",
        CHOICE,
        "keep: insert no LoRA loaders if the workflow has too few",
        "填 keep：LoRA 加载节点不够时不自动添加",
        hidden=True,
        choices=("keep", "add"),
        true_choice="add",
        field="add_loras",
    ),
    Argument(
        "max_side",
        INTEGER,
        "shrink larger input images to this side length",
        "较大的输入图片缩小到该边长",
        low=16,
        high=MAX_SIDE,
        unit="px",
        aliases=words("max_size max_dimension max_image_size longest_side 最大边长"),
        field="max_side",
        hidden=True,
    ),
    Argument(
        "dry_run",
        SWITCH,
        "true: check and report only, run nothing",
        "只检查不运行",
        aliases=words(
            "validate_only simulate simulation check_only validate preview_only no_run "
            "test_run plan_only only_validate 试运行 仅检查 只检查 预演"
        ),
        field="dry_run",
    ),
    Argument(
        "wait",
        WAIT,
        "seconds to wait; false: as submit",
        "最多等待秒数；false 同 submit",
        (*RUN, "result"),
        low=0,
        high=86_400,
        unit="s",
        aliases=words(
            "wait_seconds wait_time max_wait wait_for_result wait_for_completion block "
            "blocking synchronous sync wait_until_done 等待 等待时间 等待秒数"
        ),
        field="wait",
    ),
    Argument(
        "timeout",
        SECONDS,
        "seconds until the running job is left and its prompt_id returned",
        "超时秒数",
        (*RUN, "result"),
        hidden=True,
        low=0,
        high=86_400,
        unit="s",
        aliases=words("timeout_seconds time_limit max_time timeout_s deadline 超时 超时时间 逾时"),
        field="timeout",
    ),
    Argument(
        "async",
        SWITCH,
        "true: as submit",
        "true 同 submit",
        hidden=True,
        aliases=words(
            "asynchronous async_mode is_async run_async background no_wait detach 异步 后台 非同步"
        ),
        field="background",
    ),
    Argument(
        "output",
        LIST,
        "title or id of the only output nodes to run, or a group of them",
        "只运行这些输出节点（标题、ID 或分组）",
        common_word=True,
        aliases=words(
            "outputs only_output only_outputs output_node output_nodes output_node_id only "
            "target_node output_title run_only only_run only_node only_nodes only_group only_groups "
            "输出 输出节点 只运行 仅运行 只执行 仅执行"
        ),
        field="only_outputs",
    ),
    Argument(
        "bypass",
        NODES,
        "titles or ids of nodes or groups to leave out; what they receive is passed on",
        "绕过的节点或分组（标题或 ID）",
        common_word=True,
        aliases=words(
            "bypassed bypass_node bypass_nodes bypass_group bypass_groups disable disabled "
            "disable_node disable_nodes disable_group disable_groups skip skip_node skip_nodes "
            "skip_group turn_off switch_off deactivate 绕过 绕过节点 跳过 禁用 停用 关闭 略过"
        ),
        field="bypass",
    ),
    Argument(
        "enable",
        NODES,
        "bypassed or muted nodes or groups to run",
        "启用已绕过或静音的节点或分组",
        common_word=True,
        aliases=words(
            "enabled enable_node enable_nodes enable_group enable_groups activate turn_on "
            "switch_on unbypass unmute 启用 激活 开启 打开 启用节点 取消绕过"
        ),
        field="enable",
    ),
    Argument(
        "mute",
        NODES,
        "nodes or groups to leave out, with all that needs them",
        "静音的节点或分组，依赖它们的部分也不运行",
        hidden=True,
        common_word=True,
        aliases=words("muted mute_node mute_nodes mute_group mute_groups 静音 屏蔽"),
        field="mute",
    ),
    Argument(
        "filename_prefix",
        TEXT,
        "name of the stored files",
        "保存的文件名",
        aliases=words(
            "filename output_name output_filename output_file save_as save_name prefix "
            "output_prefix file_prefix save_prefix output_path 文件名 文件名前缀 保存名称 "
            "档名 文件名前綴"
        ),
        field="filename_prefix",
    ),
    Argument(
        "folder",
        TEXT,
        "subfolder of the output folder",
        "输出子文件夹",
        hidden=True,
        common_word=True,
        aliases=words(
            "subfolder output_folder output_dir output_directory save_dir save_folder "
            "directory save_path outdir 文件夹 输出目录 子文件夹 保存目录 资料夹"
        ),
        field="folder",
    ),
    Argument(
        "format",
        TEXT,
        "png, jpg, webp",
        "图片格式",
        OUTPUTS,
        common_word=True,
        aliases=words(
            "output_format image_format file_format file_type output_type img_format "
            "extension output_mime_type mime_type save_format 格式 图片格式 输出格式"
        ),
        field="image_format",
    ),
    Argument(
        "quality",
        INTEGER,
        "of jpg and webp",
        "图片质量",
        OUTPUTS,
        common_word=True,
        hidden=True,
        low=1,
        high=100,
        aliases=words(
            "output_quality jpeg_quality jpg_quality webp_quality image_quality "
            "compression_quality output_compression 质量 图片质量 画质"
        ),
        field="quality",
    ),
    Argument(
        "metadata",
        CHOICE,
        "none: a copy without prompt and workflow",
        "填 none：不含提示词和工作流的副本",
        OUTPUTS,
        common_word=True,
        hidden=True,
        choices=("none", "keep"),
        synonyms={
            **dict.fromkeys(("false", "no", "off", "0", "strip", "remove", "否", "无"), "none"),
            **dict.fromkeys(("true", "yes", "on", "1", "all", "是", "保留"), "keep"),
        },
        true_choice="none",
        aliases=words("embed_metadata save_metadata include_metadata 元数据 元资料"),
        field="strip_metadata",
    ),
    Argument(
        "webhook_url",
        TEXT,
        "address that is called at the end",
        "完成时回调的地址",
        hidden=True,
        aliases=words("webhook callback callback_url notify notify_url webhook_v2 回调 回调地址"),
        field="webhook_url",
    ),
    Argument(
        "showbase64",
        SWITCH,
        "compatibility name of return_image: true = preview, false = none",
        "return_image 的兼容写法：true 即 preview，false 即 none",
        OUTPUTS,
        hidden=True,
        switch_values=("none", "preview"),
        aliases=words("return_base64 base64 with_base64 send_images 显示图片"),
        field="return_image",
    ),
    Argument(
        "return_image",
        CHOICE,
        "images in the response: preview (default), full, none",
        "附带的图片",
        OUTPUTS,
        choices=("none", "full", "preview"),
        synonyms={
            **dict.fromkeys(("false", "no", "off", "0", "否", "不", "url", "link"), "none"),
            **dict.fromkeys(("true", "yes", "on", "1", "是", "thumbnail", "small"), "preview"),
            **dict.fromkeys(("b64_json", "base64", "original", "b64", "原图"), "full"),
        },
        aliases=words("return_images response_format include_images image_response 返回图片"),
        field="return_image",
    ),
    Argument(
        "previews",
        SWITCH,
        "true: also return temporary preview images",
        "同时返回临时预览图",
        OUTPUTS,
        aliases=words("temp_images include_previews return_previews 预览图"),
        field="previews",
        hidden=True,
    ),
    Argument(
        "on_timeout",
        CHOICE,
        "cancel: cancel the job at the time limit; otherwise it continues and its "
        "prompt_id is returned",
        "超时则取消任务；否则继续运行并返回 prompt_id",
        choices=("cancel", "keep"),
        true_choice="cancel",
        field="cancel_on_timeout",
        hidden=True,
    ),
    Argument(
        "strict",
        SWITCH,
        "true: no fuzzy matching, names must be exact",
        "名称必须完全一致",
        aliases=words("exact exact_names strict_names 严格"),
        field="strict",
        hidden=True,
    ),
    Argument(
        "detail",
        CHOICE,
        "full: list every input with its range and choices",
        "列出每个输入的范围和选项",
        ("describe",),
        choices=("full", "short"),
        synonyms={
            **dict.fromkeys(("true", "yes", "1", "all", "high", "verbose", "是", "详细"), "full"),
            **dict.fromkeys(("false", "no", "0", "low", "brief", "否"), "short"),
        },
        true_choice="full",
        aliases=words("details verbose detailed full 详细 详情 详細"),
        field="full",
    ),
    Argument(
        "prompt_id",
        TEXT,
        "ID of the job, returned when it was queued",
        "任务 ID",
        JOB,
        required=True,
        aliases=words("id task_id run_id 任务id 任务编号 编号"),
        field="prompt_id",
    ),
    Argument(
        "job_id",
        TEXT,
        "your own name for the job: a repeated call returns the first job",
        "自定任务名，重复调用返回首次的任务",
        (*RUN, *JOB),
        hidden=True,
        aliases=words("idempotency_key client_job_id request_id client_request_id"),
        field="job_id",
    ),
    Argument(
        "info",
        QUESTION,
        "what to list",
        "要查询的内容",
        ("info",),
        required=True,
        aliases=words("topic question query list 查询 信息 列表"),
        field="info",
    ),
)
