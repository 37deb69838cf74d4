"""What is asked: the wordings of a question, in the words of each field; a data set names its own."""

from __future__ import annotations

#: Wording -> text, about gymnastics; the keys are those of every field.
WORDINGS = {
    "official": "What gymnastics move is this athlete performing?",
    "plain": "Which of these elements does the video show?",
    "name": "What is the name of the element performed in this video?",
    "watch": "Watch the whole movement. Which description fits it?",
}
DIVING = {
    "official": "What diving move is this athlete performing?",
    "plain": "Which of these diving moves does the video show?",
    "name": "What is the name of the diving move performed in this video?",
    "watch": "Watch the whole movement. Which description fits it?",
}
ACTION = {
    "official": "What action is this person performing?",
    "plain": "Which of these actions does the video show?",
    "name": "What is the name of the action performed in this video?",
    "watch": "Watch the whole video. Which description fits it?",
}
#: One of the wordings, drawn for every clip.
VARIED = "varied"
