"""Words for what a workflow is for, as callers write them instead of a workflow's name."""

from __future__ import annotations

from collections.abc import Mapping

from comfyui_pipeline.workflow.names import letters

RESIZE = "resize"
"""Processing that sets a size; ``workflow_choice`` tells it apart from other processing."""

WORDS: Mapping[str, str] = {
    "text2img": "txt2img text2img text2image txt2image t2i texttoimage texttoimg textimage "
    "generate generateimage imagegeneration generateanimage createimage drawimage draw image "
    "text2imagegeneration 文生图 文本生成图像 文本生图 文字生图 文生圖 生图 画图 绘图 作图 生成图片 生成图像 "
    "生成圖片 繪圖 文本到图像 dalle imagine",
    "img2img": "img2img image2image img2image i2i imagetoimage imgtoimg variation variations "
    "imagevariation restyle styletransfer 图生图 圖生圖 图像到图像 以图生图 垫图 风格转换 风格迁移 重绘",
    "inpaint": "inpaint inpainting inpaintimage fill maskedit 局部重绘 局部重繪 重绘局部 涂抹重绘 "
    "局部修改 修补 补图 inpainted",
    "edit": "edit imageedit editimage imageediting imageedits instructedit 图像编辑 图片编辑 编辑图片 "
    "编辑图像 圖像編輯 改图 修图 p图 换装 kontext",
    "control": "controlnet control canny lineart line sketch scribble 线稿 线稿控制 线稿上色 控制图 "
    "線稿 骨架 姿势控制 controlnetcanny",
    "upscale": "upscale upscaling upscaler upscaleimage superresolution enhance hires 放大 高清放大 "
    "图片放大 图像放大 超分 超分辨率 高清修复 高清化 放大图片",
    RESIZE: "resize resizeimage rescale scaleimage 缩放 缩放图片 调整大小 改尺寸 调整尺寸 縮放",
    "combine": "combine composite merge mergeimages 合成 图像合成 合并图片",
    "text2video": "text2video txt2video txt2vid text2vid t2v texttovideo generatevideo "
    "videogeneration video createvideo 文生视频 文字生视频 文本生成视频 生成视频 视频 文生影片 文生視頻",
    "img2video": "img2video image2video img2vid i2v imagetovideo imgtovideo animate animateimage "
    "firstlastframe flf2v 图生视频 圖生視頻 图片生成视频 图片转视频 首尾帧 首尾帧视频 让图片动起来",
    "video2video": "video2video vid2vid v2v videotovideo editvideo 视频编辑 视频转视频 视频处理 视频生视频",
    "music": "music text2music song generatemusic texttomusic 音乐 生成音乐 文生音乐 歌曲 写歌 作曲 音樂",
    "text2audio": "audio text2audio sound tts speech texttospeech texttoaudio 音频 音效 语音 文生音频 "
    "文本转语音 生成音频",
    "text2model": "text23d texttothreed textto3d 文生3d",
    "img2model": "img23d image23d imageto3d imgto3d 3d 图生3d 三维 建模",
}
"""Kind (of ``purpose.KINDS``, and RESIZE) -> the words for it: letters and digits only."""

TRANSLATED: Mapping[str, str] = {
    "反色": "invert",
    "反转颜色": "invert",
    "反相": "invert",
    "模糊": "blur",
    "模糊图片": "blur",
    "高斯模糊": "blur",
    "混合": "blend",
    "图像混合": "blend",
    "融合": "blend",
    "叠加": "blend",
    "扩图": "outpaint",
    "外扩": "outpaint",
    "扩展画布": "outpaint",
    "outpainting": "outpaint",
    "贴图": "paste",
    "粘贴": "paste",
    "抠图": "background",
    "去背景": "background",
    "removebackground": "background",
    "rembg": "background",
}
"""Word -> the English word for it that names of workflows contain."""


def kind_of(text: str) -> str:
    """The kind of workflow that a text means; "" for any other text."""
    word = letters(text).replace("/", "")
    for ending in ("workflow", "工作流", "api", "json"):
        word = word.removesuffix(ending) or word
    for kind, words in WORDS.items():
        if word in words.split():
            return kind
    return ""


def translated(text: str) -> str:
    """The English word that names of workflows contain; "" if there is none."""
    return TRANSLATED.get(letters(text), "")
